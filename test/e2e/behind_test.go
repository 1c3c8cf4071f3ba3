package e2e

import (
	"fmt"
	"testing"
	"time"
)

// Law 8: a unit that comes back after releases that it missed stays as it is, and status says how far behind it is.
func TestAUnitThatMissedReleasesSaysHowManyAndStays(t *testing.T) {
	w := newTenant(t, "behind", "a "+east, "b "+tower)
	everywhere := placed("a", "b")
	w.apply(w.config("web", "1", everywhere))
	w.has("web", "a=1", "b=1")
	w.told("web", "True")

	lost := world.members.Named(tower)
	lost.Stop(t)
	for _, version := range []string{"2", "3", "4"} {
		w.apply(w.config("web", version, everywhere+masked("a")))
		w.has("web", "a="+version)
		w.told("web", "True")
	}
	w.behind("b", int64(3))
	lost.Start(t)
	w.eventually(func() error {
		if e := w.entry("web", "b"); e["status"] != nil {
			return fmt.Errorf("the member is back and b is still told to be %v", e)
		}
		return nil
	})
	w.keeps("web", 2*time.Second, "a=4", "b=1")
	w.behind("b", int64(3))

	// Going back to what it runs is a release like another: then it is not behind any more, and nobody else was touched.
	w.apply(w.config("web", "1", everywhere+masked("a")))
	w.has("web", "a=1")
	w.behind("b", nil)
	w.apply(w.config("web", "4", everywhere+masked("a")))
	w.has("web", "a=4")
	w.behind("b", int64(1))

	// Widening the mask changes exactly the unit that was added.
	before := w.copyIn("a", "web").GetResourceVersion()
	w.apply(w.config("web", "4", everywhere+masked("a", "b")))
	w.has("web", "b=4")
	w.behind("b", nil)
	if after := w.copyIn("a", "web").GetResourceVersion(); after != before {
		t.Errorf("unit a was written when the mask was widened by b: version %s, now %s", before, after)
	}
}

func (w *tenant) behind(unit string, want any) {
	w.Helper()
	w.eventually(func() error {
		if e := w.entry("web", unit); e["behind"] != want {
			return fmt.Errorf("%s is told to be %v releases behind, want %v: %v", unit, e["behind"], want, e)
		}
		return nil
	})
}
