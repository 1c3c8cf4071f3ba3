package plan_test

import (
	"fmt"
	"strings"
	"testing"
)

// What a unit that cannot follow costs the others is what a release is told in: one status write, as without it. A look that
// tells more than the one before, or takes it back, costs one more for each release to each object, for as long as the
// unit stays behind.
func TestAReleaseIsToldInOneStatusWriteAlsoWhereAUnitStaysBehind(t *testing.T) {
	for _, trouble := range []string{"", "member hz-2 goes away", "member hz-2 refuses writes: quota", "member hz-2 lacks the kind", "mask a"} {
		t.Run(trouble, func(t *testing.T) {
			w := newWorld()
			say := func(line string) {
				t.Helper()
				if err := w.say(line); err != nil {
					t.Fatal(err)
				}
				w.rest()
			}
			say("unit a appears on hz-1")
			say("unit b appears on hz-2")
			say("place a b")
			if trouble != "" {
				say(trouble)
			}
			say("template v2") // the trouble is told once
			for version := 3; version < 6; version++ {
				w.statusWrites, w.deeds = 0, nil
				say(fmt.Sprintf("template v%d", version))
				if w.statusWrites != 1 {
					t.Errorf("%d status writes for the release of v%d:\n%s", w.statusWrites, version, strings.Join(w.deeds, "\n"))
				}
				w.statusWrites = 0
				say("a minute passes")
				say("the pause after failures is over")
				if w.statusWrites != 0 {
					t.Errorf("%d status writes for what is tried again and is no news:\n%s", w.statusWrites, strings.Join(w.deeds, "\n"))
				}
			}
		})
	}
}
