package plan_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
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
		if counts[a] < 20 {
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
	if seed%4 == 0 {
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

// chosen is what a selection of the spec chooses, told from the spec alone.
func (l *life) chosen(field, unit string) bool {
	selection, _ := l.spec()[field].(map[string]any)
	if entries, named := selection["clusters"].([]any); named {
		for _, e := range entries {
			if e.(map[string]any)["name"] == unit {
				return true
			}
		}
		return false
	}
	selector, _ := selection["clusterSelector"].(map[string]any)
	u := l.w.units[strings.TrimSuffix(unit, cellTail)]
	return selector != nil && u != nil && selector["matchLabels"].(map[string]any)["city"] == u.labels["city"]
}

func (l *life) writable(unit string) bool {
	_, masked := l.spec()["placementMask"]
	return !masked || l.deleting() || l.chosen("placementMask", unit)
}

func (l *life) deleting() bool { return l.w.object.GetDeletionTimestamp() != nil }

// judgePlan judges every plan that is made.
func (l *life) judgePlan(in plan.Input, p plan.Plan) {
	shuffled := in
	shuffled.Units = append([]plan.Unit(nil), in.Units...)
	l.r.Shuffle(len(shuffled.Units), func(i, j int) {
		shuffled.Units[i], shuffled.Units[j] = shuffled.Units[j], shuffled.Units[i]
	})
	if again := plan.Compute(shuffled); !reflect.DeepEqual(p, again) {
		l.broken("the order of units changes the plan:\n%v\n%v", p, again)
	}
	if len(p.Missing) > 0 {
		return
	}
	_, garbled := l.spec()["placement"].(string)
	for i := range p.Steps {
		s := &p.Steps[i]
		l.counts[s.Action]++
		if !s.Action.Writes() {
			continue
		}
		if (garbled || l.w.hold != nil) && !l.deleting() {
			l.broken("%s: %s although the object is held", s.Unit, s.Action)
		}
		l.judgeDoubt(in, s)
		entry, _ := in.Object.Status.Unit(s.Unit)
		switch s.Action {
		case plan.Create, plan.Update:
			l.judgeContent(s, entry)
		default:
			l.judgeRemoval(s)
		}
	}
}

// judgeDoubt: nothing is written where anything is not known.
func (l *life) judgeDoubt(in plan.Input, s *plan.Step) {
	u := l.w.units[strings.TrimSuffix(s.Unit, cellTail)]
	if u == nil {
		l.broken("%s: %s in a unit that is not there", s.Unit, s.Action)
		return
	}
	m := l.w.members[u.member]
	placed := s.Action == plan.Create || s.Action == plan.Update
	for doubt, is := range map[string]bool{
		"member away": m.away, "member unreadable": m.lacksKind, "member not read yet": l.w.loading,
		"write under way": l.w.inFlight[s.Unit] != nil, "unit not ready": placed && u.problem != nil,
	} {
		if is {
			l.broken("%s: %s in doubt: %s", s.Unit, s.Action, doubt)
		}
	}
}

// judgeContent: the asked revision goes to writable units of the placement; anything else is the unit's own revision,
// given back.
func (l *life) judgeContent(s *plan.Step, entry federated.UnitStatus) {
	if l.deleting() || !l.chosen("placement", s.Unit) {
		l.broken("%s: %s outside the placement", s.Unit, s.Action)
	}
	want, err := federated.Read(l.w.object).ContentFor(s.Unit).Revision()
	if err != nil {
		l.t.Fatal(err)
	}
	revision := want
	if !l.writable(s.Unit) {
		revision = entry.Revision
		if owner, marked := render.OwnerOf(s.Observed); marked && owner.Revision != "" && !handsOff(s.Observed) {
			if _, made := l.w.revisions[owner.Revision]; made || owner.Revision == want {
				revision = owner.Revision
			}
		}
		if revision == "" {
			l.broken("%s: %s outside the mask in a unit that never had a copy", s.Unit, s.Action)
		}
	}
	owner, _ := render.OwnerOf(s.Object)
	if s.Revision != revision || owner.Revision != revision {
		l.broken("%s: %s of revision %s (mark %s); the unit's own to write is %s, asked is %s", s.Unit, s.Action, s.Revision, owner.Revision, revision, want)
	}
	if s.Observed != nil && s.Observed.GetDeletionTimestamp() != nil {
		l.broken("%s: %s of a copy that its member is deleting", s.Unit, s.Action)
	}
	if s.Observed != nil && handsOff(s.Observed) && !l.adopting {
		l.broken("%s: %s of a copy that the member says is not to be managed", s.Unit, s.Action)
	}
	content, kept := l.w.revisions[revision]
	if revision == want {
		content, kept = federated.Read(l.w.object).ContentFor(s.Unit), true
	}
	image, _, _ := unstructured.NestedString(content.Template, "spec", "image")
	got, _, _ := unstructured.NestedString(s.Object.Object, "spec", "image")
	if !kept || image != got {
		l.broken("%s: revision %s is written with %q, and means %q", s.Unit, revision, got, image)
	}
}

func handsOff(u *unstructured.Unstructured) bool {
	return u.GetLabels()[wellknown.ManagedLabel] == "false"
}

// judgeRemoval: removed is what was asked to go, where the mask allows it, and by UID.
func (l *life) judgeRemoval(s *plan.Step) {
	if !l.deleting() {
		if s.Action == plan.Orphan {
			l.broken("%s: orphaned although the object stays", s.Unit)
		}
		if l.chosen("placement", s.Unit) {
			l.broken("%s: %s of a unit in the placement", s.Unit, s.Action)
		}
		if !l.writable(s.Unit) {
			l.broken("%s: %s outside the mask", s.Unit, s.Action)
		}
	}
	if s.Observed == nil || s.Observed.GetUID() == "" {
		l.broken("%s: %s of nobody knows what", s.Unit, s.Action)
	}
}

// judgeWrite judges the moment of a write: what must be durable by then, and whose object it is.
func (l *life) judgeWrite(s *plan.Step, there *unstructured.Unstructured) {
	if l.w.object == nil {
		return
	}
	o := federated.Read(l.w.object)
	entry, known := o.Status.Unit(s.Unit)
	if s.Action == plan.Create || s.Action == plan.Update {
		if !known || !entry.Inventory {
			l.broken("%s: %s before it was recorded that the unit may hold a copy", s.Unit, s.Action)
		}
		if !o.HasFinalizer {
			l.broken("%s: %s without the finalizer", s.Unit, s.Action)
		}
		if _, kept := l.w.revisions[s.Revision]; !kept && !l.forgotten() {
			l.broken("%s: revision %s is written and not kept", s.Unit, s.Revision)
		}
	}
	if s.Action == plan.Create || there == nil || there.GetUID() != s.Observed.GetUID() ||
		s.Action == plan.Update && there.GetResourceVersion() != s.Object.GetResourceVersion() {
		return // the member will refuse
	}
	// Whose it is was judged when it was seen: a call that is under way is not called back.
	if owner, marked := render.OwnerOf(s.Observed); l.adopting || marked && owner.UID == objectUID {
		return
	}
	if s.Observed.GetLabels()[wellknown.ManagedLabel] != "true" {
		l.broken("%s: %s of an object that the plane did not make", s.Unit, s.Action)
	}
}

func (l *life) forgotten() bool {
	for _, line := range l.log {
		if strings.Contains(line, "revisions are lost") {
			return true
		}
	}
	return false
}

// judgeWorld: no copy is ever out of the books, and none is left when the object is gone.
func (l *life) judgeWorld() {
	for _, name := range sortedKeys(l.w.members) {
		for _, ns := range sortedKeys(l.w.members[name].objects) {
			there := l.w.members[name].objects[ns]
			owner, marked := render.OwnerOf(there)
			if !marked || l.disowned[there.GetUID()] {
				continue
			}
			if l.w.object == nil {
				l.broken("the object is gone and %s in %s has a copy", ns, name)
				continue
			}
			if e, known := federated.Read(l.w.object).Status.Unit(owner.Unit); !known || !e.Inventory {
				l.broken("%s in %s is a copy that no inventory knows", ns, name)
			}
		}
	}
}

// judgeRest: when the plane rests it has nothing more to write, and every unit that it may write holds what is asked.
func (l *life) judgeRest() {
	if l.w.object == nil {
		return
	}
	o := federated.Read(l.w.object.DeepCopy())
	p := l.w.compute(l.w.input(o))
	_, garbled := l.spec()["placement"].(string)
	for i := range p.Steps {
		s := &p.Steps[i]
		u := l.w.units[strings.TrimSuffix(s.Unit, cellTail)]
		if s.Action.Writes() {
			l.broken("%s: at rest, and there is a %s to do", s.Unit, s.Action)
		}
		if u == nil || garbled || l.w.hold != nil || l.deleting() || !s.Placed || s.Held {
			continue
		}
		e, _ := o.Status.Unit(s.Unit)
		if e.Code != "" {
			continue // it says why not
		}
		there := l.w.copyIn(u)
		image, _, _ := unstructured.NestedString(federated.Read(l.w.object).Template, "spec", "image")
		owner, marked := render.OwnerOf(there)
		if !marked || owner.Revision != s.Want || e.Revision != s.Want {
			l.broken("%s: at rest and as asked, but holds %v", s.Unit, there)
			continue
		}
		if got, _, _ := unstructured.NestedString(there.Object, "spec", "image"); got != image && there.GetDeletionTimestamp() == nil {
			l.broken("%s: at rest and as asked, but holds %q instead of %q", s.Unit, got, image)
		}
	}
}

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
