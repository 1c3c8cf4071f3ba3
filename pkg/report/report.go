package report

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

// Condition types of federated objects.
const (
	// Propagation (KubeFed's name) is True when every writable unit is as asked.
	Propagation = "Propagation"
	// Held is True while the mask keeps units as they are.
	Held = "Held"
)

// Reasons of conditions.
const (
	ReasonAsAsked       = "" // KubeFed says nothing when all is well
	ReasonCheckClusters = "CheckClusters"
	ReasonPropagating   = "Propagating"
	ReasonOnHold        = "OnHold"
	ReasonDeleting      = "Deleting"
	ReasonMasked        = "Masked"
	ReasonNothingHeld   = "NothingHeld"
)

// told bounds how many units a message names: status must stay small with hundreds of units, and each has an entry of
// its own.
const told = 5

// Messages of units share room: a member's own words may be long, and there may be hundreds of members.
const (
	room     = 96 << 10
	longest  = 512
	shortest = 96
)

// bounded cuts a message to so many bytes, between characters: half a character is stored as another one, and a status
// that never equals what was stored is written for ever.
func bounded(message string, limit int) string {
	message = strings.ToValidUTF8(message, "�")
	if len(message) <= limit {
		return message
	}
	return strings.ToValidUTF8(message[:limit-len("…")], "") + "…"
}

// Input is what a status is made of.
type Input struct {
	Object  *federated.Object
	Plan    *plan.Plan
	Results map[string]plan.Result
	// Now in RFC 3339, for conditions that changed.
	Now string
	// CollectStatus copies the members' own status.
	CollectStatus bool
	// Health judges the health of the members' copies.
	Health bool
}

// Event is a change worth telling.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Status is the status to write, in cluster form, and the events that follow from what it changes.
func Status(in Input) (map[string]any, []Event) {
	entries := make([]federated.UnitStatus, 0, len(in.Plan.Steps))
	t := tally{judged: in.Health}
	for i := range in.Plan.Steps {
		step := &in.Plan.Steps[i]
		result := in.Results[step.Unit]
		if step.Dropped(result) {
			continue
		}
		e := entry(in, step, result)
		entries = append(entries, e)
		t.count(step, e)
	}
	list, events := in.conditions(t)
	conditions := encodeConditions(list)
	fit(entries, in.Object.Status, conditions)
	touch(conditions, entries, in)
	return encode(in.Object.Generation, entries, conditions, t), events
}

// Intent is the status that records units before the first write to them: what was, and the new ones.
func Intent(in Input) map[string]any {
	entries := append([]federated.UnitStatus(nil), in.Object.Status.Units...)
	at := make(map[string]int, len(entries))
	for i := range entries {
		at[entries[i].Name] = i
	}
	place := make(map[string]*plan.Step, len(in.Plan.Steps))
	for i := range in.Plan.Steps {
		place[in.Plan.Steps[i].Unit] = &in.Plan.Steps[i]
	}
	for _, name := range in.Plan.Intent {
		i, there := at[name]
		if !there {
			i = len(entries)
			entries = append(entries, federated.UnitStatus{Name: name, Code: plan.CodePending})
		}
		if step := place[name]; entries[i].Cluster != "" && step.Elsewhere(entries[i]) {
			entries[i] = federated.UnitStatus{Name: name, Code: plan.CodePending} // what was known was of a place that was given up
		}
		entries[i].Inventory = true
		entries[i].Cluster, entries[i].MemberNamespace, entries[i].ClusterID = place[name].Member, place[name].MemberNamespace, place[name].MemberID
	}
	placing := fmt.Sprintf("being placed in %s", few(in.Plan.Intent))
	list := replace(in.Object.Status.Conditions, in.condition(Propagation, "False", ReasonPropagating, placing))
	if in.Health {
		list = replace(list, in.condition(Healthy, "False", ReasonNotAsAsked, placing))
	}
	conditions := encodeConditions(list)
	fit(entries, in.Object.Status, conditions)
	t := tally{judged: in.Health}
	for i := range in.Plan.Steps {
		step := &in.Plan.Steps[i]
		if before, known := in.Object.Status.Unit(step.Unit); known || step.Placed {
			before.Code = step.Why.Code
			t.count(step, before)
		}
	}
	return encode(in.Object.Status.ObservedGeneration, entries, conditions, t)
}

// Admitted tells of units that a selector admits although nobody changed the object: a new unit, or new labels.
func Admitted(in Input) (Event, bool) {
	o := in.Object
	if o.Placement.Named || o.Status.ObservedGeneration != o.Generation {
		return Event{}, false
	}
	var admitted []string
	for _, name := range in.Plan.Intent {
		// A unit that waited for something else than for itself was admitted before.
		if before, known := o.Status.Unit(name); !known || before.Code == plan.CodeUnitNotReady {
			admitted = append(admitted, name)
		}
	}
	if len(admitted) == 0 {
		return Event{}, false
	}
	return Event{Reason: "UnitAdmitted", Message: "the placement's selector now admits " + few(admitted)}, true
}

func entry(in Input, step *plan.Step, result plan.Result) federated.UnitStatus {
	before, _ := in.Object.Status.Unit(step.Unit)
	e := federated.UnitStatus{
		Name: step.Unit, Code: step.Why.Code, Message: step.Why.Message, Held: step.Held,
		Generation: before.Generation, Revision: before.Revision, Version: before.Version,
		Inventory: before.Inventory || intended(in.Plan, step.Unit), RemoteStatus: before.RemoteStatus,
		Cluster: before.Cluster, MemberNamespace: before.MemberNamespace, ClusterID: before.ClusterID, Behind: step.Behind,
		RemoteStatusOmitted: before.RemoteStatusOmitted,
	}
	if in.Object.Deleting && before.Name == "" {
		e.Inventory = true // no record told of it, and it may hold a copy: from now on it is asked for
	}
	seen := step.Observed
	switch {
	case step.Action == plan.Keep:
		e.Revision, e.Version, e.Inventory = step.Revision, step.Version, true
	case result.Outcome == plan.Done && (step.Action == plan.Create || step.Action == plan.Update):
		seen = result.Object
		e.Revision, e.Inventory = step.Revision, true
		if step.Revision == step.Want {
			e.Behind = 0
		}
		e.Version, _ = step.Lens.Version(result.Object)
	case result.Outcome == plan.Failed:
		e.Code, e.Message = result.Why.Code, result.Why.Message
	case result.Outcome == plan.Pending && before.Code != "":
		e.Code, e.Message = before.Code, before.Message // that it is tried again is no news
	case result.Outcome == plan.Pending:
		e.Code, e.Message = plan.CodePending, fmt.Sprintf("member %s has not answered yet", step.Member)
	case (step.Action == plan.Create || step.Action == plan.Update) && before.Code != "":
		e.Code, e.Message = before.Code, before.Message // the next look follows at once
	case step.Action == plan.Create || step.Action == plan.Update:
		e.Code, e.Message = plan.CodePending, "the member's object changed meanwhile; looking again"
	}
	e.Message = bounded(e.Message, max(shortest, min(longest, room/len(in.Plan.Steps))))
	if owner, ours := render.OwnerOf(seen); ours && owner.UID == in.Object.UID {
		e.Inventory = true
		if e.ClusterID == "" && e.Cluster == step.Member {
			e.ClusterID = step.MemberID // it was not known when the unit was recorded
		}
		e.Generation = seen.GetGeneration()
		e.RemoteStatus, e.RemoteStatusOmitted = nil, ""
		if in.CollectStatus {
			e.RemoteStatus, e.RemoteStatusOmitted = remoteStatus(seen)
		}
	}
	in.judge(&e, before, step, result, seen)
	if e.Inventory && e.Cluster == "" {
		e.Cluster, e.MemberNamespace, e.ClusterID = step.Member, step.MemberNamespace, step.MemberID
	}
	return e
}

func intended(p *plan.Plan, unit string) bool {
	for _, n := range p.Intent {
		if n == unit {
			return true
		}
	}
	return false
}

// tally counts what the conditions and the table columns say.
type tally struct {
	placed, asAsked, held int
	open                  []string // writable units that are not as asked, with their codes
	waiting               int      // how many of them only because a member has not answered yet
	stopped               string
	judged                bool // whether health is told
	contested             []string
	ailing
}

func (t *tally) count(step *plan.Step, e federated.UnitStatus) {
	if step.Placed || e.Code == plan.CodeOnHold { // of an object on hold nobody knows the placement; its copies count
		t.placed++
	}
	if e.Code == "" && step.Placed && e.Revision == step.Want {
		t.asAsked++
	}
	if step.Held {
		t.held++
	}
	if e.Code == plan.CodeOnHold {
		t.stopped = e.Message
	}
	if q := quarrel(e); q != "" {
		t.contested = append(t.contested, q)
	}
	t.ailing.count(step, e)
	if !step.Held && e.Code != "" {
		t.open = append(t.open, fmt.Sprintf("%s: %s", e.Name, e.Code))
		if e.Code == plan.CodePending {
			t.waiting++
		}
	}
}

func (in Input) conditions(t tally) ([]federated.Condition, []Event) {
	o := in.Object
	propagation := in.condition(Propagation, "True", ReasonAsAsked, "")
	switch stopped := in.stopped(t); {
	case o.Deleting:
		propagation = in.condition(Propagation, "False", ReasonDeleting, few(t.open))
	case stopped != "":
		propagation = in.condition(Propagation, "False", ReasonOnHold, stopped)
	case len(t.open) > 0 && t.waiting == len(t.open):
		propagation = in.condition(Propagation, "False", ReasonPropagating, few(t.open))
	case len(t.open) > 0:
		propagation = in.condition(Propagation, "False", ReasonCheckClusters, few(t.open))
	}
	held := in.condition(Held, "False", ReasonNothingHeld, "")
	if t.held > 0 {
		held = in.condition(Held, "True", ReasonMasked, fmt.Sprintf("%d of %d units are kept as they are by the mask", t.held, len(in.Plan.Steps)))
	}
	now := []federated.Condition{propagation, held}
	if propagation.Reason == ReasonOnHold {
		now = now[:1] // what the mask holds is not known, and stays as it was said
	}
	if c, told := in.contest(t); told && propagation.Reason != ReasonOnHold {
		now = append(now, c)
	}
	conditions := o.Status.Conditions
	if in.Health {
		now = append(now, in.healthy(t))
	} else {
		conditions = without(conditions, Healthy)
	}
	events := in.unsupported()
	for _, c := range now {
		if e, worth := change(o.Status, c); worth {
			if stopped := in.Plan.Stopped; e.Reason == ReasonOnHold && stopped != nil && stopped.Code == plan.CodeInvalidName {
				e.Reason = stopped.Code // KubeFed's
			}
			events = append(events, e)
		}
		conditions = replace(conditions, c)
	}
	return conditions, events
}

func (in Input) stopped(t tally) string {
	if t.stopped != "" {
		return t.stopped
	}
	if in.Plan.Stopped != nil {
		return in.Plan.Stopped.Message
	}
	if len(in.Object.Faults) > 0 {
		return "the object cannot be read: " + in.Object.Faults[0].String()
	}
	return ""
}

// condition is a condition as it is now, with the times of the one before where nothing changed.
func (in Input) condition(typ, status, reason, message string) federated.Condition {
	message = bounded(message, longest)
	c := federated.Condition{Type: typ, Status: status, Reason: reason, Message: message,
		ObservedGeneration: in.Object.Generation, LastUpdateTime: in.Now, LastTransitionTime: in.Now}
	before, ok := in.Object.Status.Condition(typ)
	if !ok {
		return c
	}
	if before.Status == status && before.Reason == reason {
		c.LastTransitionTime = before.LastTransitionTime
		if before.Message == message && before.ObservedGeneration == c.ObservedGeneration {
			c.LastUpdateTime = before.LastUpdateTime
		}
	}
	return c
}

// change tells whether a condition's change is worth an event. That work begins is not: its end will be told.
func change(before federated.Status, now federated.Condition) (Event, bool) {
	was, known := before.Condition(now.Type)
	if known && was.Status == now.Status && was.Reason == now.Reason {
		return Event{}, false
	}
	switch {
	case now.Type == Healthy:
		return healthChange(was, now)
	case now.Type == Propagation && now.Status == "True":
		if !known || was.Reason == ReasonPropagating {
			return Event{}, false
		}
		return Event{Reason: "Propagated", Message: "every writable unit is as asked"}, true
	case now.Type == Propagation && now.Reason != ReasonPropagating:
		return Event{Warning: now.Reason != ReasonDeleting, Reason: now.Reason, Message: now.Message}, now.Message != ""
	case now.Type == Held && now.Status == "True":
		return Event{Reason: "UnitsHeld", Message: now.Message}, true
	case now.Type == Contested:
		return contestChange(now, known)
	case now.Type == Held && known:
		return Event{Reason: "UnitsReleased", Message: "no unit is held any more"}, true
	}
	return Event{}, false
}

func replace(all []federated.Condition, c federated.Condition) []federated.Condition {
	out := make([]federated.Condition, 0, len(all)+1)
	found := false
	for _, old := range all {
		if old.Type == c.Type {
			old, found = c, true
		}
		out = append(out, old)
	}
	if !found {
		out = append(out, c)
	}
	return out
}

func few(units []string) string {
	if len(units) <= told {
		return strings.Join(units, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(units[:told], "; "), len(units)-told)
}

// remoteStatus is the member's own status, unless it would make the federated object one that cannot be listed.
func remoteStatus(seen *unstructured.Unstructured) (status map[string]any, omitted string) {
	status, _ = seen.Object["status"].(map[string]any)
	if federated.Deeper(status, federated.MaxDepth) {
		return nil, "all: nested too deeply"
	}
	return status, ""
}
