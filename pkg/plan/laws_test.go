package plan_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// The laws of propagation, watched over in random lives: every sentence of the stories' language, in any order, with
// members that answer late, watches that are behind, and a plane that dies between any two of its deeds; looked at after
// every single deed. What a law says is worked out here again, from the spec and from what really is in the members,
// never from what the plan says of itself. A life that breaks a law is cut down to the few events that it takes, and is
// printed so that it can be kept in testdata/lives and told again.

var (
	lives    = flag.Int("lives", 360, "how many random lives the laws are watched over in")
	firstOne = flag.Uint64("first-life", 0, "seed of the first of them")
)

const eventsPerLife = 60 // at most

func TestTheLawsHoldInRandomLives(t *testing.T) {
	counts := map[plan.Action]int{}
	gone, happened := 0, 0
	for seed := *firstOne; seed < *firstOne+uint64(*lives); seed++ {
		l, lived := randomLife(seed, nil)
		if len(l.faults) > 0 {
			t.Fatalf("seed %d:\n%s", seed, shrunk(lived, nil))
		}
		happened += len(lived)
		if l.w.object == nil {
			gone++
		}
		for a, n := range l.counts {
			counts[a] += n
		}
	}
	t.Logf("%d lives, %d ended by deletion; %d events; decisions: %v", *lives, gone, happened, counts)
	for _, a := range []plan.Action{plan.Create, plan.Update, plan.Delete, plan.Orphan, plan.Confirm, plan.Keep, plan.Hold, plan.Wait, plan.Drop} {
		if counts[a] < 10 {
			t.Errorf("only %d decisions to %s: these lives prove little", counts[a], a)
		}
	}
}

// TestLivesThatOnceBrokeALawKeepIt tells again what once went wrong.
func TestLivesThatOnceBrokeALawKeepIt(t *testing.T) {
	paths, err := filepath.Glob("testdata/lives/*.life")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no lives: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".life"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var lived []event
			for line := range strings.Lines(string(raw)) {
				if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				lived = append(lived, readEvent(t, line))
			}
			if l := relive(lived, nil); len(l.faults) > 0 {
				t.Fatalf("%s\n%s", l.faults[0], strings.Join(l.log, "\n"))
			}
		})
	}
}

// TestTheJudgesSeeEveryBrokenLaw breaks the laws one by one, between what was gathered and what is done, and asks that
// the judges notice, and that the life in which they did can be told in a few lines.
func TestTheJudgesSeeEveryBrokenLaw(t *testing.T) {
	for name, tamper := range map[string]func(in *plan.Input, p *plan.Plan){
		"the mask is not looked at": func(in *plan.Input, p *plan.Plan) {
			if p == nil {
				in.Object.Mask = nil
			}
		},
		"the mask admits one unit more than it says": func(in *plan.Input, p *plan.Plan) {
			if p == nil && in.Object.Mask != nil {
				in.Object.Mask.Named = true
				in.Object.Mask.Names = append(in.Object.Mask.Names, "a"+cellTail)
			}
		},
		"a unit is not recorded before the first write": func(_ *plan.Input, p *plan.Plan) {
			if p != nil {
				p.Intent = nil
			}
		},
		"contents are not kept": func(_ *plan.Input, p *plan.Plan) {
			if p != nil {
				p.Record = nil
			}
		},
		"the finalizer comes too late": func(_ *plan.Input, p *plan.Plan) {
			if p != nil {
				p.AddFinalizer = false
			}
		},
		"a placement that cannot be read is an empty one": func(in *plan.Input, p *plan.Plan) {
			if p == nil {
				in.Object.Faults = nil
			}
		},
		"a member that is being read is an empty one": func(in *plan.Input, p *plan.Plan) {
			for i := range in.Units {
				in.Units[i].Loading = false
			}
		},
		"a member that is away has nothing": func(in *plan.Input, p *plan.Plan) {
			for i := range in.Units {
				in.Units[i].NotConnected = nil
			}
		},
		"what somebody else made is taken over": func(in *plan.Input, p *plan.Plan) { in.AdoptByDefault = true },
		"held units get the newest content": func(in *plan.Input, p *plan.Plan) {
			if p == nil {
				for i := range in.Object.Status.Units {
					in.Object.Status.Units[i].Revision, _ = in.Object.ContentFor(in.Object.Status.Units[i].Name).Revision()
				}
			}
		},
		"units that cannot be seen leave the inventory": func(in *plan.Input, p *plan.Plan) {
			if p != nil {
				for i := range p.Steps {
					if p.Steps[i].Why.Code == plan.CodeUnknownUnit || p.Steps[i].Why.Code == plan.CodeClusterNotReady {
						p.Steps[i].Action = plan.Drop
					}
				}
			}
		},
		"another cluster of the same name is the same": func(in *plan.Input, p *plan.Plan) {
			for i := range in.Units {
				if e, recorded := in.Object.Status.Unit(in.Units[i].Name); recorded && e.ClusterID != "" {
					in.Units[i].MemberID = e.ClusterID
				}
			}
		},
		"a call is made again before it has ended": func(in *plan.Input, p *plan.Plan) {
			for i := range in.Units {
				in.Units[i].InFlight = false
			}
		},
		"what nobody gave up is forgotten": func(in *plan.Input, p *plan.Plan) {
			if in.Object.Mask != nil {
				in.Abandonments = append(in.Abandonments, plan.Abandonment{Cluster: "m0"})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			noticed := 0
			for seed := range uint64(400) {
				l, lived := randomLife(seed, tamper)
				if len(l.faults) == 0 {
					continue
				}
				noticed++
				if small := shrink(lived, tamper); len(small) <= 10 {
					t.Logf("noticed in the life of seed %d, %d events, of which it takes %d:\n%s", seed, len(lived), len(small), shrunk(small, tamper))
					return
				}
			}
			t.Errorf("%d lives broke a law, and none could be told in ten events", noticed)
		})
	}
}

// event is one thing that happens, how often the plane looks afterwards, and the seed of everything that is left to
// chance meanwhile: each event has its own, so that what happens next stays the same when events before it are cut out.
type event struct {
	line  string
	looks int // restful = until it rests
	seed  uint64
}

const restful = 9

func (e event) String() string {
	return fmt.Sprintf("%d looks, seed %d: %s", e.looks, e.seed, e.line)
}

var eventLine = regexp.MustCompile(`^(\d) looks, seed (\d+): (.*)$`)

func readEvent(t *testing.T, line string) event {
	t.Helper()
	m := eventLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("no event: %q", line)
	}
	looks, _ := strconv.Atoi(m[1])
	seed, err := strconv.ParseUint(m[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return event{m[3], looks, seed}
}

func script(lived []event) string {
	var b strings.Builder
	for _, e := range lived {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

// life is one world and the laws that watch it.
type life struct {
	w        *world
	r        *rand.Rand // what happens next
	log      []string
	faults   []string
	counts   map[plan.Action]int
	adopting bool
	// disowned are copies that their member once took out of the plane's hands.
	disowned map[types.UID]bool
}

func newLife(seed uint64, tamper func(*plan.Input, *plan.Plan)) *life {
	l := &life{w: newWorld(), r: rand.New(rand.NewPCG(seed, 1)), counts: map[plan.Action]int{}, disowned: map[types.UID]bool{}}
	l.w.late, l.w.lag, l.w.health, l.w.tamper = rand.New(rand.NewPCG(seed, 2)), true, true, tamper
	l.w.violation = l.broken
	l.w.watchCalls, l.w.watchWrites = l.judgePlan, l.judgeWrite
	return l
}

// randomLife lives until the object is gone, a law is broken, or it is long enough; lived is what happened in it.
func randomLife(seed uint64, tamper func(*plan.Input, *plan.Plan)) (l *life, lived []event) {
	l = newLife(seed, tamper)
	happen := func(e event) bool {
		lived = append(lived, e)
		l.live(e)
		return len(l.faults) == 0 && l.w.object != nil
	}
	for i, u := range []string{"a", "b", "c", "d"} {
		happen(event{line: fmt.Sprintf("unit %s appears on m%d city=%s", u, i/2, []string{"x", "y"}[i%2])})
	}
	happen(event{line: "m0 is cluster one and m1 is cluster two"})
	happen(event{line: "place a b c"})
	if seed%3 == 0 {
		happen(event{line: "orphan"})
	}
	for len(lived) < eventsPerLife && happen(l.next()) {
	}
	return l, lived
}

// relive lets the same things happen again. What no longer makes sense, because an event before it was cut out, does
// not happen.
func relive(lived []event, tamper func(*plan.Input, *plan.Plan)) *life {
	l := newLife(0, tamper)
	for _, e := range lived {
		if l.live(e); len(l.faults) > 0 || l.w.object == nil {
			break
		}
	}
	return l
}

// shrink cuts out of a life that breaks a law all that the breaking does not need.
func shrink(lived []event, tamper func(*plan.Input, *plan.Plan)) []event {
	breaks := func(some []event) bool { return len(relive(some, tamper).faults) > 0 }
	if !breaks(lived) {
		return lived
	}
	for cut := len(lived) / 2; cut > 0; {
		smaller := false
		for from := 0; from+cut <= len(lived); {
			rest := append(append([]event(nil), lived[:from]...), lived[from+cut:]...)
			if breaks(rest) {
				lived, smaller = rest, true
				continue
			}
			from += cut
		}
		if !smaller || cut > len(lived) {
			cut /= 2
		}
	}
	return lived
}

// shrunk is the least life that breaks a law, with what came of it.
func shrunk(lived []event, tamper func(*plan.Input, *plan.Plan)) string {
	small := shrink(lived, tamper)
	l := relive(small, tamper)
	return fmt.Sprintf("%s\nbroken: %s\nthe plane's deeds:\n%s", script(small), strings.Join(l.faults, "\n"), strings.Join(l.w.deeds, "\n"))
}

func (l *life) broken(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// next is what happens next.
func (l *life) next() event {
	e := event{line: l.any(), seed: l.r.Uint64() >> 40}
	switch l.r.IntN(4) {
	case 0:
	case 1, 2:
		e.looks = 1
	default:
		e.looks = restful
	}
	return e
}

// live lets one thing happen, and the plane look at it.
func (l *life) live(e event) {
	l.log = append(l.log, e.String())
	l.w.late = rand.New(rand.NewPCG(e.seed, 3))
	if e.line != "" && !l.says(e.line) {
		return
	}
	if e.looks == restful {
		l.w.rest()
		l.judgeRest()
	} else {
		for range e.looks {
			l.w.round()
		}
	}
	l.judgeWorld()
}

// says tells whether a line makes sense now.
func (l *life) says(line string) (sense bool) {
	before := len(l.faults)
	defer func() {
		if p := recover(); p != nil {
			if _, nothingThere := p.(error); !nothingThere || len(l.faults) > before {
				panic(p)
			}
			sense = false
		}
	}()
	if hands, u := strings.CutPrefix(line, "someone says hands off in "); u {
		if there := l.w.copyIn(l.w.units[hands]); there != nil {
			l.disowned[there.GetUID()] = true
		}
	}
	l.adopting = l.adopting || line == "adopt"
	if err := l.w.say(line); err != nil {
		panic(err.Error())
	}
	return true
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
	switch l.r.IntN(25) {
	case 0, 1:
		return pick("", "in cells ") + "place " + l.some()
	case 2:
		return pick("", "in cells ") + pick("select city=x", "select city=y")
	case 3, 4, 5:
		return pick("", "in cells ") + "mask " + l.some()
	case 6, 7:
		return pick("", "in cells ") + pick("unmask", "unmask", "mask where city=x")
	case 8, 9, 10:
		return pick("", "in cells ") + fmt.Sprintf("template v%d", 1+l.r.IntN(5))
	case 11:
		return pick("", "in cells ") + pick("no overrides", fmt.Sprintf("override %s /spec/replicas %d", pick("a", "b"), l.r.IntN(4)), "override a /spec/no/where 1")
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
		return pick("the pause after failures is over", "a minute passes", "the plane restarts", "the next status write is lost",
			fmt.Sprintf("the plane dies before its %d. deed", 1+l.r.IntN(9)))
	case 20:
		return l.placeHappens(u, m)
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
	if len(l.w.abandonments) > 0 && l.r.IntN(2) == 0 {
		return "nothing is given up any more"
	}
	if l.w.admitted != nil && l.r.IntN(2) == 0 {
		return "the namespace admits everything"
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

// placeHappens is what happens to places: labels change, members are given up, or replaced by others, namespaces narrow.
func (l *life) placeHappens(u, m string) string {
	if u == "" {
		return ""
	}
	switch l.r.IntN(8) {
	case 0, 1, 2:
		return fmt.Sprintf("unit %s is now city=%s", u, []string{"x", "y"}[l.r.IntN(2)])
	case 3, 4:
		return "the namespace admits " + l.some()
	case 5:
		if len(l.w.abandonments) > 0 {
			return "nothing is given up any more"
		}
		return m + " is given up"
	case 6:
		return fmt.Sprintf("%s becomes cluster %d", m, l.r.IntN(1000))
	default:
		return "the namespace admits everything"
	}
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
		return "someone says hands off in " + u
	case n < 17 && !l.adopting && l.r.IntN(3) == 0:
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
