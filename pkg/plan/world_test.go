package plan_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/report"
)

const (
	planeID   = "this-plane"
	namespace = "acme-prod"
	cellTail  = "." + namespace + ".cell"
	objectUID = "uid-of-web"
)

// world is a plane with one federated object and some members, in memory. Members behave as API servers do as far as
// propagation can tell: names, UIDs, resource versions, generations, defaults, finalizers. The plane's own loop is the
// real one's: compute, record, write, report.
type world struct {
	object    *unstructured.Unstructured // nil = gone
	topology  string
	template  string
	units     map[string]*worldUnit
	members   map[string]*worldMember
	revisions map[string]federated.Content
	hold      *plan.Why

	// What the process remembers, and loses when it restarts.
	sights   map[string]*unstructured.Unstructured
	probes   map[string]bool
	failures map[string]*plan.Failure
	inFlight map[string]*plan.Step
	loading  bool

	loseStatus   bool
	statusWrites int
	placedSpec   any // placement before it was garbled
	counter      int
	deeds        []string
	events       []report.Event
	late         *rand.Rand // non-nil: members answer in any order, some of them later
	watchCalls   func(plan.Input, plan.Plan)
	watchWrites  func(*plan.Step, *unstructured.Unstructured)
	violation    func(format string, args ...any)
}

type worldUnit struct {
	name, member string
	labels       map[string]string
	problem      *plan.Why
}

type worldMember struct {
	away, hangs, lacksKind bool
	refuses                string
	objects                map[string]*unstructured.Unstructured // by namespace
}

func newWorld() *world {
	w := &world{
		topology: "cell", template: "v1", units: map[string]*worldUnit{}, members: map[string]*worldMember{},
		revisions: map[string]federated.Content{},
		object: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedDeployment",
			"metadata": map[string]any{"namespace": namespace, "name": "web", "uid": objectUID, "generation": int64(1)},
			"spec":     map[string]any{"topologyType": "cell", "placement": map[string]any{}, "template": templateOf("v1")},
		}},
	}
	w.restart()
	w.loading = false
	return w
}

func templateOf(version string) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
		"spec":     map[string]any{"replicas": int64(2), "image": version},
	}
}

// restart forgets what only the process knew. Writes that were under way end, one way or the other, as they will.
func (w *world) restart() {
	for name, step := range w.inFlight {
		if m := w.members[step.Member]; m != nil && !m.away && name != "" {
			w.perform(step)
		}
	}
	w.sights, w.probes = map[string]*unstructured.Unstructured{}, map[string]bool{}
	w.failures, w.inFlight = map[string]*plan.Failure{}, map[string]*plan.Step{}
	w.loading = true
}

func (w *world) full(name string) string {
	if w.topology == "cluster" || strings.Contains(name, ".") {
		return name
	}
	return name + cellTail
}

func (w *world) namespaceOf(u *worldUnit) string {
	if w.topology == "cluster" {
		return namespace
	}
	return namespace + "-" + u.name
}

// copyIn is what is in a unit, seen by nobody but the story.
func (w *world) copyIn(u *worldUnit) *unstructured.Unstructured {
	return w.members[u.member].objects[w.namespaceOf(u)]
}

// input is what gather would say.
func (w *world) input(o *federated.Object) plan.Input {
	in := plan.Input{
		Object: o, Plane: planeID, Hold: w.hold, TargetNamespaced: true,
		Target: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
	}
	for _, name := range sortedKeys(w.units) {
		u := w.units[name]
		full := w.full(name)
		m := w.members[u.member]
		pu := plan.Unit{
			Name: full, Member: u.member, MemberNamespace: w.namespaceOf(u), Labels: u.labels, Problem: u.problem,
			InFlight: w.inFlight[full] != nil, Failure: w.failures[full],
		}
		switch {
		case m.away:
			pu.NotConnected = &plan.Why{Code: plan.CodeClusterNotReady, Message: "member " + u.member + " is not connected"}
		case m.lacksKind:
			pu.Unreadable = &plan.Why{Code: plan.CodeKindNotInMember, Message: "member " + u.member + " does not serve deployments.apps/v1"}
		case w.loading:
			pu.Loading = true
		default:
			there := w.copyIn(u)
			if there != nil && there.GetLabels()[wellknown.ManagedLabel] == "true" { // all that the watch shows
				pu.Observed = there
				delete(w.sights, full)
			} else if sight := w.sights[full]; sight != nil {
				pu.Observed, pu.Probe = sight, w.probes[full]
			}
		}
		in.Units = append(in.Units, pu)
	}
	if w.late != nil {
		w.late.Shuffle(len(in.Units), func(i, j int) { in.Units[i], in.Units[j] = in.Units[j], in.Units[i] })
	}
	return in
}

// compute is the carrier's: it fetches contents until nothing is missing.
func (w *world) compute(in plan.Input) plan.Plan {
	for {
		watched := w.violation != nil && (w.late == nil || w.late.IntN(8) == 0)
		var before, after []byte
		if watched {
			before, _ = json.Marshal(in)
		}
		p := plan.Compute(in)
		if watched {
			if after, _ = json.Marshal(in); string(after) != string(before) {
				w.violation("the input was changed:\n%s\n%s", before, after)
			}
		}
		if w.watchCalls != nil {
			w.watchCalls(in, p)
		}
		if len(p.Missing) == 0 {
			return p
		}
		if in.Contents == nil {
			in.Contents = map[string]*federated.Content{}
		}
		for _, r := range p.Missing {
			in.Contents[r] = nil
			if c, kept := w.revisions[r]; kept {
				in.Contents[r] = &c
			}
		}
	}
}

// round is one reconcile; it tells whether anything moved.
func (w *world) round() (moved bool) {
	if w.object == nil {
		return false
	}
	answered := w.endLate()
	o := federated.Read(w.object.DeepCopy())
	if o.Deleting && !o.HasFinalizer {
		w.object = nil
		return true
	}
	loaded := w.loading // that a member has been read is an event
	p := w.compute(w.input(o))
	if p.AddFinalizer {
		w.object.SetFinalizers([]string{wellknown.SyncFinalizer})
		o.HasFinalizer = true
	}
	for r, c := range p.Record {
		w.revisions[r] = federated.Content{Template: runtime.DeepCopyJSON(c.Template), Overrides: c.Overrides}
	}
	in := report.Input{Object: o, Plan: &p, Now: "2026-11-21T12:00:00Z", CollectStatus: true}
	if len(p.Intent) > 0 {
		if e, admitted := report.Admitted(in); admitted {
			w.events = append(w.events, e)
		}
		w.writeStatus(report.Intent(in))
		in.Object = federated.Read(w.object.DeepCopy())
	}
	in.Results = w.do(&p)
	return w.commit(in) || w.stillMoving(in) || loaded || answered
}

func (w *world) commit(in report.Input) (moved bool) {
	w.loading = false
	if w.loseStatus {
		w.loseStatus = false
		w.deeds = append(w.deeds, "the plane dies before it writes status, and starts again")
		w.restart()
		return true
	}
	if in.Object.Deleting && in.Plan.Finished(in.Results) {
		w.object = nil
		w.deeds = append(w.deeds, "the federated object is gone")
		return true
	}
	status, events := report.Status(in)
	if !w.writeStatus(status) {
		return false
	}
	w.events = append(w.events, events...)
	return true
}

func (w *world) stillMoving(in report.Input) bool {
	for i := range in.Plan.Steps {
		s := &in.Plan.Steps[i]
		r := in.Results[s.Unit]
		if r.Outcome == plan.Done || r.Outcome == plan.Found || r.Outcome == plan.Stale || r.Outcome == plan.Gone {
			return true
		}
		if r.Outcome == plan.Pending && w.late != nil && !w.members[s.Member].hangs {
			return true
		}
	}
	return false
}

// waiting tells whether an answer will come by itself.
func (w *world) waiting() bool {
	for _, s := range w.inFlight {
		if w.object != nil && !w.members[s.Member].hangs {
			return true
		}
	}
	return false
}

// writeStatus stores a status as an API server would; false = it is what was there.
func (w *world) writeStatus(status map[string]any) bool {
	before, _ := w.object.Object["status"].(map[string]any)
	if equality.Semantic.DeepEqual(before, status) {
		return false
	}
	raw, err := json.Marshal(status)
	if err != nil {
		panic(err)
	}
	var stored map[string]any
	if err := utiljson.Unmarshal(raw, &stored); err != nil {
		panic(err)
	}
	if !reflect.DeepEqual(stored, status) && w.violation != nil {
		w.violation("a status that is stored differently is written for ever:\n%v\n%v", status, stored)
	}
	w.object.Object["status"] = stored
	w.statusWrites++
	return true
}

// rest runs the plane until nothing moves.
func (w *world) rest() {
	for range 60 {
		if !w.round() && !w.waiting() {
			return
		}
	}
	panic("the plane does not come to rest: " + strings.Join(w.deeds, "\n"))
}

// do carries out a plan's steps.
func (w *world) do(p *plan.Plan) map[string]plan.Result {
	results := map[string]plan.Result{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if !s.Action.Writes() && s.Action != plan.Confirm {
			if s.Action == plan.Drop {
				w.tell(s, "forgotten, "+s.Why.Message)
			}
			continue
		}
		switch {
		case w.members[s.Member].hangs:
			w.inFlight[s.Unit] = s
			results[s.Unit] = plan.Result{Outcome: plan.Pending}
			w.tell(s, s.Member+" does not answer the "+string(s.Action))
		case w.late != nil && w.late.IntN(3) == 0:
			w.inFlight[s.Unit] = s
			results[s.Unit] = plan.Result{Outcome: plan.Pending}
		default:
			results[s.Unit] = w.perform(s)
		}
	}
	return results
}

// endLate ends calls of members that were only slow.
func (w *world) endLate() (ended bool) {
	if w.late == nil {
		return false
	}
	for _, name := range sortedKeys(w.inFlight) {
		if s := w.inFlight[name]; !w.members[s.Member].hangs && w.late.IntN(2) == 0 {
			delete(w.inFlight, name)
			ended = true
			if !w.members[s.Member].away {
				w.perform(s)
			}
		}
	}
	return ended
}

// perform is one call and what the process remembers of it.
func (w *world) perform(s *plan.Step) plan.Result {
	m := w.members[s.Member]
	if s.Action.Writes() && w.watchWrites != nil {
		w.watchWrites(s, m.objects[s.Namespace])
	}
	var r plan.Result
	if m.refuses != "" && s.Action.Writes() {
		r = plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: failureCode(s.Action), Message: "member " + s.Member + ": " + m.refuses}}
		f := &plan.Failure{Why: r.Why}
		if s.Action == plan.Create || s.Action == plan.Update {
			f.Revision = s.Revision
		}
		w.failures[s.Unit] = f
	} else {
		r = m.call(w, s)
		delete(w.failures, s.Unit)
		delete(w.probes, s.Unit)
		delete(w.sights, s.Unit)
		if r.Outcome == plan.Found {
			w.sights[s.Unit] = r.Object
		}
	}
	w.tellResult(s, r)
	return r
}

func failureCode(a plan.Action) string {
	return map[plan.Action]string{plan.Create: plan.CodeCreationFailed, plan.Update: plan.CodeUpdateFailed,
		plan.Delete: plan.CodeDeletionFailed, plan.Orphan: plan.CodeLabelRemovalFailed}[a]
}

// call is what a member's API server does.
func (m *worldMember) call(w *world, s *plan.Step) plan.Result {
	there := m.objects[s.Namespace]
	switch {
	case s.Action == plan.Confirm && there == nil, s.Action == plan.Delete && there == nil, s.Action == plan.Orphan && there == nil:
		return plan.Result{Outcome: plan.Gone}
	case s.Action == plan.Confirm, s.Action == plan.Create && there != nil:
		return plan.Result{Outcome: plan.Found, Object: there.DeepCopy()}
	case s.Action == plan.Create:
		return plan.Result{Outcome: plan.Done, Object: m.store(w, s.Namespace, s.Object).DeepCopy()}
	case s.Action == plan.Update && there == nil:
		return plan.Result{Outcome: plan.Stale}
	case s.Action == plan.Update && there.GetResourceVersion() != s.Object.GetResourceVersion():
		return plan.Result{Outcome: plan.Found, Object: there.DeepCopy()}
	case s.Action == plan.Update:
		return plan.Result{Outcome: plan.Done, Object: m.store(w, s.Namespace, s.Object).DeepCopy()}
	case there.GetUID() != s.Observed.GetUID():
		return plan.Result{Outcome: plan.Stale}
	case s.Action == plan.Orphan:
		edited := there.DeepCopy()
		strip(edited)
		m.store(w, s.Namespace, edited)
		return plan.Result{Outcome: plan.Gone}
	case len(there.GetFinalizers()) > 0:
		going := there.DeepCopy()
		going.SetDeletionTimestamp(&metav1.Time{})
		going.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T12:00:00Z"
		return plan.Result{Outcome: plan.Done, Object: m.store(w, s.Namespace, going).DeepCopy()}
	}
	delete(m.objects, s.Namespace)
	return plan.Result{Outcome: plan.Gone}
}

// strip takes the plane's marks off.
func strip(u *unstructured.Unstructured) {
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	delete(labels, wellknown.ManagedLabel)
	delete(annotations, wellknown.OwnerAnnotation)
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
}

// store keeps an object as an API server would: with defaults, and with versions of its own. Objects are replaced,
// never changed: what a watch gave out stays as it was.
func (m *worldMember) store(w *world, ns string, u *unstructured.Unstructured) *unstructured.Unstructured {
	w.counter++
	u = u.DeepCopy()
	before := m.objects[ns]
	spec, _ := u.Object["spec"].(map[string]any)
	if _, set := spec["deadline"]; !set && spec != nil {
		spec["deadline"] = int64(600)
	}
	if before == nil {
		u.SetUID(types.UID("uid-" + strconv.Itoa(w.counter)))
		u.SetGeneration(1)
	} else {
		u.SetUID(before.GetUID())
		u.SetGeneration(before.GetGeneration())
		if !reflect.DeepEqual(before.Object["spec"], u.Object["spec"]) {
			u.SetGeneration(before.GetGeneration() + 1)
		}
		if equality.Semantic.DeepEqual(before.Object, u.Object) {
			return before
		}
	}
	u.Object["status"] = map[string]any{"observedGeneration": u.GetGeneration()}
	u.SetResourceVersion(strconv.Itoa(w.counter))
	m.objects[ns] = u
	return u
}

func (w *world) tell(s *plan.Step, what string) {
	w.deeds = append(w.deeds, fmt.Sprintf("%s: %s", s.Unit, what))
}

func (w *world) tellResult(s *plan.Step, r plan.Result) {
	var what string
	switch {
	case r.Outcome == plan.Failed:
		what = "the " + string(s.Action) + " fails, " + r.Why.Message
	case s.Action == plan.Create && r.Outcome == plan.Done:
		what = "created in " + s.Member + " at " + s.Revision
	case s.Action == plan.Update && r.Outcome == plan.Done:
		what = "updated in " + s.Member + " to " + s.Revision
	case s.Action == plan.Delete && r.Outcome == plan.Gone:
		what = "removed from " + s.Member
	case s.Action == plan.Delete && r.Outcome == plan.Done:
		what = s.Member + " is removing it"
	case s.Action == plan.Orphan && r.Outcome == plan.Gone:
		what = "left behind in " + s.Member + ", without the plane's marks"
	case s.Action == plan.Confirm && r.Outcome == plan.Gone:
		what = s.Member + " says that nothing is there"
	case r.Outcome == plan.Found:
		what = s.Member + " has another object than expected"
	default:
		what = s.Member + " has nothing of that sort any more"
	}
	if s.Why.Message != "" && r.Outcome == plan.Done && s.Action != plan.Delete {
		what += ", " + s.Why.Message
	}
	w.tell(s, what)
}
