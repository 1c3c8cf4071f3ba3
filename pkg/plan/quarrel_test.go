package plan_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/annotation"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
	"github.com/cellfed/cellfed/pkg/retain"
)

// quarrel is what a world knows of its type's policy and of people in members who keep changing copies.
type quarrel struct {
	policy render.Policy
	// fighters change a copy again as soon as it was put back, each time to something else.
	fighters map[string]bool
	edits    int
	// rounds are the repairs of a copy, as the process remembers them.
	rounds map[string]*plan.Contest
	counts map[string]int
	// confirmed is what members confirmed, as the process remembers it.
	confirmed map[string]*plan.Confirmed
}

// patience is after how many rounds this world's plane stops.
const patience = 3

func (w *world) contest(unit string) *plan.Contest {
	if w.counts[unit] < patience {
		return nil
	}
	return w.rounds[unit]
}

// fought remembers a write, and lets whoever fights over the copy answer it.
func (w *world) fought(s *plan.Step, r plan.Result) {
	if s.Action != plan.Create && s.Action != plan.Update || r.Outcome == plan.Failed {
		return
	}
	if r.Outcome == plan.Done {
		if w.confirmed == nil {
			w.confirmed = map[string]*plan.Confirmed{}
		}
		version, err := s.Lens.Version(r.Object)
		if err != nil {
			panic(err)
		}
		w.confirmed[s.Unit] = &plan.Confirmed{Revision: s.Revision, Version: version}
	}
	if k := w.rounds[s.Unit]; k == nil || !s.Repairs || k.Subject != s.Subject() {
		if w.rounds == nil {
			w.rounds, w.counts = map[string]*plan.Contest{}, map[string]int{}
		}
		w.rounds[s.Unit], w.counts[s.Unit] = &plan.Contest{Subject: s.Subject()}, 0
	}
	if s.Repairs {
		w.counts[s.Unit]++
		w.rounds[s.Unit].Fields = s.Lens.Differences(s.Observed, s.Object, false, 5)
	}
	if name := strings.TrimSuffix(s.Unit, cellTail); w.fighters[name] && r.Outcome == plan.Done {
		w.strike(name)
	}
}

func (w *world) strike(unit string) {
	w.edits++
	w.edit(unit, func(u *unstructured.Unstructured) {
		u.Object["spec"].(map[string]any)["image"] = fmt.Sprint("theirs-", w.edits)
	})
}

func (w *world) propagate(patterns ...string) {
	var errs field.ErrorList
	if w.policy.Annotations, errs = annotation.Parse(patterns, field.NewPath("patterns")); len(errs) > 0 {
		panic(errs.ToAggregate())
	}
}

func (w *world) annotateCopy(unit, key, value string) {
	w.edit(unit, func(u *unstructured.Unstructured) {
		a := u.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		a[key] = value
		u.SetAnnotations(a)
	})
}

// quarrelVerbs are the sentences about policies, annotations and fights.
var quarrelVerbs = []verb{
	sentence(`no annotation propagates`, func(w *world, _ []string) { w.propagate() }),
	sentence(`annotations propagate: (.+)`, func(w *world, a []string) { w.propagate(strings.Fields(a[1])...) }),
	sentence(`replicas are retained by the type`, func(w *world, _ []string) {
		w.policy.Retained, _ = retain.Parse([]string{"/spec/replicas"}, field.NewPath("fields"))
	}),
	sentence(`retain replicas`, func(w *world, _ []string) { w.spec(func(s map[string]any) { s["retainReplicas"] = true }) }),
	sentence(`template (\S+) with (\S+)=(\S+)`, func(w *world, a []string) {
		w.template = a[1]
		w.spec(func(s map[string]any) {
			t := templateOf(a[1])
			t["metadata"].(map[string]any)["annotations"] = map[string]any{a[2]: a[3]}
			s["template"] = t
		})
	}),
	sentence(`someone annotates (\S+): (\S+)=(\S+)`, func(w *world, a []string) { w.annotateCopy(a[1], a[2], a[3]) }),
	sentence(`someone scales (\S+) to (\d+)`, func(w *world, a []string) {
		w.edit(a[1], func(u *unstructured.Unstructured) {
			u.Object["spec"].(map[string]any)["replicas"] = int64(a[2][0] - '0')
		})
	}),
	sentence(`someone keeps changing (\S+)`, func(w *world, a []string) {
		if w.fighters == nil {
			w.fighters = map[string]bool{}
		}
		w.fighters[a[1]] = true
		w.strike(a[1])
	}),
	sentence(`they leave (\S+) alone, as it is`, func(w *world, a []string) { delete(w.fighters, a[1]) }),
	sentence(`they give (\S+) back`, func(w *world, a []string) {
		delete(w.fighters, a[1])
		o := w.object.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
		w.edit(a[1], func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)["image"] = o["image"] })
	}),
	sentence(`the long pause is over`, func(w *world, _ []string) { clear(w.counts) }),
}

// forget loses what only the process knew.
func (q *quarrel) forget() { q.rounds, q.counts, q.confirmed = nil, nil, nil }

// foreign are the annotations of a copy that stories tell of: those that are not the plane's marks.
func foreign(u *unstructured.Unstructured) string {
	a := u.GetAnnotations()
	var words []string
	for _, k := range sortedKeys(a) {
		if k != wellknown.OwnerAnnotation {
			words = append(words, k+"="+a[k])
		}
	}
	return strings.Join(words, " ")
}

var blows = regexp.MustCompile(`generation \d+|theirs-\d+|  +`)

// uncounted takes out of a told fight how many blows there were: a repair whose answer comes late is not known to be one.
func uncounted(stands []string) {
	for i := range stands {
		stands[i] = blows.ReplaceAllString(stands[i], "…")
	}
}

// A policy that changes writes no held unit, whatever went on before.
func TestAPolicyThatChangesWritesNoHeldUnit(t *testing.T) {
	held, others := 0, 0
	for seed := range uint64(150) {
		l, lived := randomLife(seed, nil)
		if l.w.object == nil || len(l.faults) > 0 {
			continue // judged elsewhere
		}
		l.w.lag = false
		l.w.rest()
		l.w.watchCalls = func(_ plan.Input, p plan.Plan) {
			for i := range p.Steps {
				s := &p.Steps[i]
				if s.Held && s.Action == plan.Keep {
					held++
				}
				if !s.Action.Writes() || len(p.Missing) > 0 {
					continue
				}
				others++
				if s.Held && s.Observed != nil {
					t.Errorf("seed %d: %s of held %s because a policy changed:\n%s", seed, s.Action, s.Unit, script(lived))
				}
			}
		}
		r := rand.New(rand.NewPCG(seed, 3))
		if err := l.w.say([]string{"annotations propagate: lb/*", "replicas are retained by the type", "retain replicas"}[r.IntN(3)]); err != nil {
			t.Fatal(err)
		}
		l.w.rest()
		if t.Failed() {
			return
		}
	}
	if held < 50 || others < 50 {
		t.Errorf("%d held units kept, %d other units written: this proves little", held, others)
	}
}

// A member that answers when nobody waits any longer is not written again: status did not hear the answer, the process did.
func TestAnAnswerThatComesLateIsBelieved(t *testing.T) {
	w := newWorld()
	say := func(line string) {
		t.Helper()
		if err := w.say(line); err != nil {
			t.Fatal(err)
		}
		w.rest()
	}
	say("unit a appears on hz-1")
	for _, line := range []string{"place a", "template v2", "template v3"} {
		say("member hz-1 hangs and " + line)
		w.deeds = nil
		if say("member hz-1 answers"); len(w.deeds) != 1 { // the answer itself
			t.Errorf("after the answer to %q: %v", line, w.deeds)
		}
	}
	if e, _ := federated.Read(w.object).Status.Unit("a" + cellTail); e.Code != "" || e.Revision == "" || e.Version == "" {
		t.Errorf("status: %+v", e)
	}
}

// Foreign annotations survive every write.
func TestNoForeignAnnotationIsEverLost(t *testing.T) {
	stood := 0
	for seed := range uint64(80) {
		l := newLife(seed, nil)
		judge := l.w.watchWrites
		l.w.watchWrites = func(s *plan.Step, there *unstructured.Unstructured) {
			judge(s, there)
			if s.Action != plan.Update || there == nil || there.GetResourceVersion() != s.Object.GetResourceVersion() {
				return
			}
			for k, v := range there.GetAnnotations() {
				if k == wellknown.OwnerAnnotation || strings.HasPrefix(k, "lb/") {
					continue
				}
				if stood++; s.Object.GetAnnotations()[k] != v {
					l.broken("%s: %s=%s becomes %q", s.Unit, k, v, s.Object.GetAnnotations()[k])
				}
			}
		}
		live := func(line string) bool {
			l.live(event{line: line, looks: l.r.IntN(restful + 1), seed: l.r.Uint64()})
			return l.w.object != nil && len(l.faults) == 0
		}
		going := true
		for _, line := range []string{"annotations propagate: lb/*", "unit a appears on m0", "unit b appears on m0", "unit c appears on m1",
			"unit d appears on m1", "m0 is cluster one and m1 is cluster two", "place a b c d"} {
			going = going && live(line)
		}
		for range 40 {
			if !going {
				break
			}
			switch u := l.unit(); l.r.IntN(5) {
			case 0, 1:
				if u != "" {
					going = live(fmt.Sprintf("someone annotates %s: %s=%d", u, []string{"status", "lb/port", "lb/x"}[l.r.IntN(3)], l.r.IntN(3)))
				}
			case 2:
				if l.w.object.GetDeletionTimestamp() == nil {
					going = live(fmt.Sprintf("template v%d with lb/port=%d", l.r.IntN(3), l.r.IntN(3)))
				}
			default:
				e := l.next()
				l.live(e)
				going = l.w.object != nil && len(l.faults) == 0
			}
		}
		if len(l.faults) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, l.faults[0], strings.Join(l.log, "\n"))
		}
	}
	if stood < 200 {
		t.Errorf("%d foreign annotations stood where the plane wrote: this proves little", stood)
	}
}
