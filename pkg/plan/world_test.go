package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
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
	"github.com/cellfed/cellfed/pkg/topology"
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
	quarrel

	// What the process remembers, and loses when it restarts.
	sights   map[string]*unstructured.Unstructured
	probes   map[string]bool
	failures map[string]*plan.Failure
	inFlight map[string]*plan.Step
	loading  bool
	seen     map[string]uint64 // by unit: the newest resource version that the process has seen

	loseStatus bool
	// fuse is how many durable deeds the plane does until it dies before the last of them; 0 = it does not.
	fuse int
	// lag lets watches of members be behind, now and then.
	lag bool
	// health lets status tell how copies are.
	health bool
	// cells: users write in topology form.
	cells        bool
	abandonments []plan.Abandonment
	admitted     *federated.Object // the FederatedNamespace
	tamper       func(*plan.Input, *plan.Plan)
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
	id                     string
	objects                map[string]*unstructured.Unstructured // by namespace
	previous               map[string]*unstructured.Unstructured // what a watch that is behind shows
}

// put stores an object, or removes it (nil).
func (m *worldMember) put(ns string, u *unstructured.Unstructured) {
	if m.previous == nil {
		m.previous = map[string]*unstructured.Unstructured{}
	}
	m.previous[ns] = m.objects[ns]
	if u == nil {
		delete(m.objects, ns)
		return
	}
	m.objects[ns] = u
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
	w.quarrel.forget()
	w.sights, w.probes = map[string]*unstructured.Unstructured{}, map[string]bool{}
	w.failures, w.inFlight = map[string]*plan.Failure{}, map[string]*plan.Step{}
	w.loading = true
	w.seen = map[string]uint64{}
}

// died is how the plane dies in the middle of a round.
type died struct{}

// spend is one durable deed of the plane.
func (w *world) spend() {
	if w.fuse == 0 {
		return
	}
	if w.fuse--; w.fuse == 0 {
		panic(died{})
	}
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
		Target:       schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Abandonments: w.abandonments, NamespaceObject: w.admitted, Policy: w.policy,
	}
	for _, name := range sortedKeys(w.units) {
		u := w.units[name]
		full := w.full(name)
		m := w.members[u.member]
		pu := plan.Unit{
			Name: full, Member: u.member, MemberID: m.id, MemberNamespace: w.namespaceOf(u), Labels: w.labelsOf(u), Problem: u.problem,
			InFlight: w.inFlight[full] != nil, Failure: w.failures[full], Contest: w.contest(full), Confirmed: w.confirmed[full],
		}
		switch {
		case m.away:
			pu.NotConnected = &plan.Why{Code: plan.CodeClusterNotReady, Message: "member " + u.member + " is not connected"}
		case m.lacksKind:
			pu.Unreadable = &plan.Why{Code: plan.CodeKindNotInMember, Message: "member " + u.member + " does not serve deployments.apps/v1"}
		case w.loading:
			pu.Loading = true
		default:
			there := w.shown(u)
			if there != nil && there.GetLabels()[wellknown.ManagedLabel] == "true" { // all that the watch shows
				pu.Observed = there
				delete(w.sights, full)
			} else if sight := w.sights[full]; sight != nil && !w.lag && sight.GetLabels()[wellknown.ManagedLabel] == "true" {
				delete(w.sights, full) // it only bridged a watch that was behind
			} else if sight != nil {
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

// labelsOf are a unit's labels as selectors see them.
func (w *world) labelsOf(u *worldUnit) map[string]string {
	labels := maps.Clone(u.labels)
	if w.topology != topology.TypeCluster {
		labels[wellknown.TopologyTypeLabel], labels[wellknown.TopologyNamespaceLabel], labels[wellknown.TopologyUnitLabel] = w.topology, namespace, u.name
	}
	return labels
}

// shown is what the watch shows of a unit: what is there, or what was there before. What the process has seen already it
// does not see older again.
func (w *world) shown(u *worldUnit) *unstructured.Unstructured {
	there := w.copyIn(u)
	if !w.lag || w.late == nil || w.late.IntN(5) != 0 {
		return there
	}
	before := w.members[u.member].previous[w.namespaceOf(u)]
	if seen := w.seen[w.full(u.name)]; versionOf(before) >= seen && (before != nil || versionOf(there) > seen) {
		return before
	}
	return there
}

func versionOf(u *unstructured.Unstructured) uint64 {
	if u == nil {
		return 0
	}
	v, err := strconv.ParseUint(u.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err)
	}
	return v
}

// compute is the carrier's: it fetches contents until nothing is missing.
func (w *world) compute(in plan.Input) plan.Plan {
	for {
		watched := w.violation != nil && (w.late == nil || w.late.IntN(8) == 0)
		var before, after []byte
		if watched {
			before, _ = json.Marshal(in)
		}
		var p plan.Plan
		if w.tamper != nil {
			in.Object = federated.Read(w.object.DeepCopy())
			w.tamper(&in, nil)
			p = plan.Compute(in)
			w.tamper(&in, &p)
		} else {
			p = plan.Compute(in)
		}
		if watched && w.tamper == nil {
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
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
			w.deeds = append(w.deeds, "the plane dies, and starts again")
			w.restart()
			moved = true
		}
	}()
	answered := w.endLate()
	o := federated.Read(w.object.DeepCopy())
	if o.Deleting && !o.HasFinalizer {
		w.object = nil
		return true
	}
	loaded := w.loading // that a member has been read is an event
	p := w.compute(w.input(o))
	if p.AddFinalizer {
		w.spend()
		w.object.SetFinalizers([]string{wellknown.SyncFinalizer})
		o.HasFinalizer = true
	}
	for _, r := range sortedKeys(p.Record) {
		c := p.Record[r]
		w.spend()
		w.revisions[r] = federated.Content{Template: runtime.DeepCopyJSON(c.Template), Overrides: c.Overrides}
	}
	in := report.Input{Object: o, Plan: &p, Now: "2026-11-21T12:00:00Z", CollectStatus: true, Health: w.health}
	if len(p.Intent) > 0 {
		if e, admitted := report.Admitted(in); admitted {
			w.events = append(w.events, e)
		}
		w.spend()
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
	w.spend()
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
	lagging := w.lag
	w.lag = false
	defer func() { w.lag = lagging }()
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
		w.spend()
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
		w.seen[s.Unit] = max(w.seen[s.Unit], versionOf(r.Object))
	}
	w.tellResult(s, r)
	w.fought(s, r)
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
	m.put(s.Namespace, nil)
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
	m.put(ns, u)
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
