package plan_test

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

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

// placed: the placement chooses the unit, and the namespace admits it.
func (l *life) placed(unit string) bool {
	if !l.chosen("placement", unit) {
		return false
	}
	return l.w.admitted == nil || slices.Contains(l.w.admitted.Placement.Names, unit)
}

// abandoned: the unit's member, as it is now, was given up.
func (l *life) abandoned(u *worldUnit) bool {
	return slices.ContainsFunc(l.w.abandonments, func(a plan.Abandonment) bool {
		return a.Cluster == u.member && (a.ClusterID == l.w.members[u.member].id || a.ClusterID == "")
	})
}

// replaced: the cluster that may hold the copy is no longer the member, and nobody gave it up.
func (l *life) replaced(e federated.UnitStatus, u *worldUnit) bool {
	return e.Inventory && e.ClusterID != "" && e.ClusterID != l.w.members[u.member].id && !slices.ContainsFunc(l.w.abandonments,
		func(a plan.Abandonment) bool {
			return a.Cluster == e.Cluster && (a.ClusterID == e.ClusterID || a.ClusterID == "")
		})
}

// here: the entry is about the place at which the unit is now.
func (l *life) here(e federated.UnitStatus, u *worldUnit) bool {
	return e.Cluster == u.member && e.MemberNamespace == l.w.namespaceOf(u) && (e.ClusterID == "" || e.ClusterID == l.w.members[u.member].id)
}

func (l *life) writable(unit string) bool {
	_, masked := l.spec()["placementMask"]
	return !masked || l.deleting() || l.chosen("placementMask", unit)
}

func (l *life) deleting() bool { return l.w.object.GetDeletionTimestamp() != nil }

// judgePlan judges every plan that is made.
func (l *life) judgePlan(in plan.Input, p plan.Plan) {
	if l.w.tamper == nil && l.w.late.IntN(3) == 0 {
		l.judgeOrder(in, p)
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

// judgeOrder: the order of units never changes a plan.
func (l *life) judgeOrder(in plan.Input, p plan.Plan) {
	in.Units = append([]plan.Unit(nil), in.Units...)
	l.w.late.Shuffle(len(in.Units), func(i, j int) { in.Units[i], in.Units[j] = in.Units[j], in.Units[i] })
	if again := plan.Compute(in); !reflect.DeepEqual(p, again) {
		l.broken("the order of units changes the plan:\n%v\n%v", p, again)
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
	entry, _ := in.Object.Status.Unit(s.Unit)
	for doubt, is := range map[string]bool{
		"member away": m.away, "member unreadable": m.lacksKind, "member not read yet": l.w.loading,
		"write under way": l.w.inFlight[s.Unit] != nil, "unit not ready": placed && u.problem != nil,
		"the place was given up": l.abandoned(u), "another cluster has the name": l.replaced(entry, u),
	} {
		if is {
			l.broken("%s: %s in doubt: %s", s.Unit, s.Action, doubt)
		}
	}
}

// judgeContent: the asked revision goes to writable units of the placement; anything else is the unit's own revision,
// given back.
func (l *life) judgeContent(s *plan.Step, entry federated.UnitStatus) {
	if l.deleting() || !l.placed(s.Unit) {
		l.broken("%s: %s outside the placement", s.Unit, s.Action)
	}
	want, err := federated.Read(l.w.object).ContentFor(s.Unit).Revision()
	if err != nil {
		panic(err)
	}
	revision := want
	if !l.writable(s.Unit) {
		if u := l.w.units[strings.TrimSuffix(s.Unit, cellTail)]; u != nil && l.here(entry, u) {
			revision = entry.Revision
		} else {
			revision = ""
		}
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
		if l.placed(s.Unit) {
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
	if l.w.object == nil || l.gaveUp(s.Member) {
		return // nobody waits for calls to a member that was given up, and they may still arrive
	}
	o := federated.Read(l.w.object)
	entry, known := o.Status.Unit(s.Unit)
	if s.Action == plan.Create || s.Action == plan.Update {
		u := l.w.units[strings.TrimSuffix(s.Unit, cellTail)]
		if !known || !entry.Inventory || u != nil && !l.here(entry, u) && l.stillAt(s, u) {
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

// stillAt: the unit is at the place that the step was planned for.
func (l *life) stillAt(s *plan.Step, u *worldUnit) bool {
	return s.Member == u.member && s.MemberID == l.w.members[u.member].id
}

func (l *life) forgotten() bool { return l.happened("revisions are lost") }

func (l *life) gaveUp(member string) bool { return l.happened(member + " is given up") }

func (l *life) happened(what string) bool {
	return slices.ContainsFunc(l.log, func(line string) bool { return strings.Contains(line, what) })
}

// judgeWorld: no copy is ever out of the books, and none is left when the object is gone.
func (l *life) judgeWorld() {
	for _, name := range sortedKeys(l.w.members) {
		for _, ns := range sortedKeys(l.w.members[name].objects) {
			there := l.w.members[name].objects[ns]
			owner, marked := render.OwnerOf(there)
			if !marked || l.disowned[there.GetUID()] || l.gaveUp(name) {
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
	lagging := l.w.lag
	l.w.lag = false
	defer func() { l.w.lag = lagging }()
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
