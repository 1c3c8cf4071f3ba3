package plan_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// The laws of propagation, watched over in random lives: every sentence of the stories' language, in any order, with
// members that answer late, and looked at after every single deed. What a law says is worked out here again, from the
// spec and from what really is in the members, never from what the plan says of itself.

const (
	lives  = 360
	events = 60 // per life, at most
)

func TestTheLawsHoldInRandomLives(t *testing.T) {
	counts := map[plan.Action]int{}
	gone, happened := 0, 0
	for seed := range uint64(lives) {
		l := newLife(t, seed)
		for range events {
			l.happens()
			happened++
			if t.Failed() {
				l.t.Fatalf("seed %d:\n%s", seed, strings.Join(l.log, "\n"))
			}
			if l.w.object == nil {
				gone++
				break
			}
		}
		for a, n := range l.counts {
			counts[a] += n
		}
	}
	t.Logf("%d lives, %d ended by deletion; %d events; decisions: %v", lives, gone, happened, counts)
	for _, a := range []plan.Action{plan.Create, plan.Update, plan.Delete, plan.Orphan, plan.Confirm, plan.Keep, plan.Hold, plan.Wait, plan.Drop} {
		if counts[a] < 10 {
			t.Errorf("only %d decisions to %s: these lives prove little", counts[a], a)
		}
	}
}

// life is one world and the laws that watch it.
type life struct {
	t        *testing.T
	w        *world
	r        *rand.Rand
	log      []string
	counts   map[plan.Action]int
	adopting bool
	// disowned are copies that their member once took out of the plane's hands.
	disowned map[types.UID]bool
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{t: t, w: newWorld(), r: rand.New(rand.NewPCG(seed, 1)), counts: map[plan.Action]int{}, disowned: map[types.UID]bool{}}
	l.w.late = l.r
	l.w.violation = l.broken
	l.w.watchCalls, l.w.watchWrites = l.judgePlan, l.judgeWrite
	for i, u := range []string{"a", "b", "c", "d"} {
		l.must(fmt.Sprintf("unit %s appears on m%d city=%s", u, i/2, []string{"x", "y"}[i%2]))
	}
	l.must("place a b c")
	if seed%3 == 0 {
		l.must("orphan")
	}
	return l
}

func (l *life) broken(format string, args ...any) {
	l.t.Helper()
	l.t.Errorf(format, args...)
}

func (l *life) must(line string) {
	l.log = append(l.log, line)
	if err := l.w.say(line); err != nil {
		l.t.Fatal(err)
	}
}

// happens lets one thing happen, and the plane look once, or a few times, or until it rests.
func (l *life) happens() {
	if line := l.any(); line != "" {
		l.must(line)
	}
	switch l.r.IntN(4) {
	case 0:
	case 1, 2:
		l.w.round()
	default:
		l.w.rest()
		l.judgeRest()
	}
	l.judgeWorld()
}

func (l *life) unit() string {
	names := sortedKeys(l.w.units)
	if len(names) == 0 {
		return ""
	}
	return names[l.r.IntN(len(names))]
}

func (l *life) some() string {
	names := []string{"nothing"}
	for _, u := range []string{"a", "b", "c", "d", "z"} {
		if l.r.IntN(2) == 0 {
			names = append(names, u)
		}
	}
	if len(names) > 1 {
		names = names[1:]
	}
	return strings.Join(names, " ")
}

// any is anything that could happen now.
func (l *life) any() string {
	u := l.unit()
	m := fmt.Sprintf("m%d", l.r.IntN(2))
	member := l.w.members[m]
	pick := func(lines ...string) string { return lines[l.r.IntN(len(lines))] }
	if l.r.IntN(3) == 0 {
		if line := l.heals(); line != "" {
			return line
		}
	}
	switch l.r.IntN(24) {
	case 0, 1:
		return "place " + l.some()
	case 2:
		return pick("select city=x", "select city=y")
	case 3, 4, 5:
		return "mask " + l.some()
	case 6, 7:
		return pick("unmask", "unmask", "mask where city=x")
	case 8, 9, 10:
		return fmt.Sprintf("template v%d", 1+l.r.IntN(5))
	case 11:
		return pick("no overrides", fmt.Sprintf("override %s /spec/replicas %d", pick("a", "b"), l.r.IntN(4)), "override a /spec/no/where 1")
	case 12:
		if member.away {
			return "member " + m + " returns"
		}
		return "member " + m + " goes away"
	case 13:
		if member.hangs {
			return "member " + m + " answers"
		}
		return "member " + m + " hangs"
	case 14:
		if member.refuses != "" {
			return "member " + m + " accepts writes"
		}
		return "member " + m + " refuses writes: no"
	case 15:
		return pick("the pause after failures is over", "a minute passes", "the plane restarts", "the next status write is lost")
	case 16:
		if l.w.hold != nil {
			return "the object is held no more"
		}
		return pick("the object is held: x", "", "")
	case 17:
		if member.lacksKind {
			return "member " + m + " has the kind"
		}
		return pick("member "+m+" lacks the kind", "", "")
	case 18:
		if _, garbled := l.spec()["placement"].(string); garbled {
			return "mend the placement"
		}
		return pick("garble the placement", "", "")
	case 19:
		return l.unitHappens(u)
	default:
		return l.copyHappens(u)
	}
}

// heals is the end of some trouble, if there is any: lives in which everything is always in doubt prove little.
func (l *life) heals() string {
	if l.w.hold != nil {
		return "the object is held no more"
	}
	if _, garbled := l.spec()["placement"].(string); garbled {
		return "mend the placement"
	}
	for _, name := range sortedKeys(l.w.members) {
		switch m := l.w.members[name]; {
		case m.away:
			return "member " + name + " returns"
		case m.hangs:
			return "member " + name + " answers"
		case m.lacksKind:
			return "member " + name + " has the kind"
		case m.refuses != "":
			return "member " + name + " accepts writes and the pause after failures is over"
		}
	}
	return ""
}

func (l *life) unitHappens(u string) string {
	for _, name := range []string{"a", "b", "c", "d"} {
		if l.w.units[name] == nil {
			return fmt.Sprintf("unit %s appears on m%d city=x", name, (name[0]-'a')/2)
		}
	}
	return []string{"", "unit " + u + " vanishes", "unit " + u + " is not ready: x", "unit " + u + " is ready", "unit " + u + " is ready"}[l.r.IntN(5)]
}

func (l *life) copyHappens(u string) string {
	if u == "" {
		return ""
	}
	there := l.w.copyIn(l.w.units[u])
	switch n := l.r.IntN(20); {
	case there == nil && n < 4:
		return "someone makes an object in " + u
	case there == nil:
		return ""
	case n < 5:
		return "someone edits " + u
	case n < 8:
		return "someone deletes what is in " + u
	case n < 10:
		return "someone adds a finalizer in " + u
	case n < 13:
		return "the finalizer in " + u + " goes"
	case n < 14:
		return "someone cuts the " + []string{"owner mark", "managed label"}[l.r.IntN(2)] + " off in " + u
	case n < 15 && there.GetLabels() != nil:
		return "someone cuts the marks off in " + u
	case n < 16 && there.GetLabels() != nil:
		l.disowned[there.GetUID()] = true
		return "someone says hands off in " + u
	case n < 17 && !l.adopting && l.r.IntN(3) == 0:
		l.adopting = true
		return "adopt"
	case n < 19 && l.r.IntN(3) == 0:
		return "delete"
	}
	return ""
}

func (l *life) spec() map[string]any { return l.w.object.Object["spec"].(map[string]any) }

// Idle means idle: what only the process did not know yet, or looks at again, is no news.
func TestLookingAgainWritesNothing(t *testing.T) {
	for _, nothing := range []string{"the plane restarts", "a minute passes", "member hz-2 returns"} {
		t.Run(nothing, func(t *testing.T) {
			w := newWorld()
			for _, line := range []string{
				"unit a appears on hz-1", "unit b appears on hz-2", "unit c appears on hz-2", "unit d appears on hz-1",
				"someone makes an object in b", "place a b c d", "template v2 and mask a b d", "someone adds a finalizer in d", "place a b c",
			} {
				if err := w.say(line); err != nil {
					t.Fatal(err)
				}
				w.rest()
			}
			before := w.object.DeepCopy()
			w.statusWrites = 0
			w.deeds = nil
			if err := w.say(nothing); err != nil {
				t.Fatal(err)
			}
			w.rest()
			if w.statusWrites != 0 {
				t.Errorf("%d status writes; in the end it differs: %t\n%s", w.statusWrites, !reflect.DeepEqual(before, w.object), strings.Join(w.deeds, "\n"))
			}
		})
	}
}

// While a member is being read, what was said of a unit stays, but for one thing: a unit that has just left the
// placement is not as asked, and nobody may be told that it is.
func TestAUnitThatLeftThePlacementWhileItsMemberIsReadIsNotAsAsked(t *testing.T) {
	w := newWorld()
	for _, line := range []string{"unit a appears on hz-1", "unit b appears on hz-2", "place a b"} {
		if err := w.say(line); err != nil {
			t.Fatal(err)
		}
	}
	w.rest()
	if err := w.say("the plane restarts and place a"); err != nil {
		t.Fatal(err)
	}
	w.round()
	status := federated.Read(w.object).Status
	if e, _ := status.Unit("b" + cellTail); e.Code != plan.CodePending {
		t.Errorf("the unit that left: %+v", e)
	}
	if c, _ := status.Condition("Propagation"); c.Status != "False" {
		t.Errorf("Propagation while a copy is still there: %+v", c)
	}
}
