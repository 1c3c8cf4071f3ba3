package report

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/health"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

// Healthy is the condition that is True when every writable unit is as asked and healthy with it: what a pipeline
// waits for. Units that the mask holds do not count.
const Healthy = "Healthy"

// Reasons of the condition Healthy, besides Deleting and OnHold.
const (
	ReasonAllHealthy = "AllHealthy"
	// ReasonNothingWritable: nothing is waited for, since the mask, or the placement, admits no unit.
	ReasonNothingWritable = "NothingWritable"
	ReasonNotAsAsked      = "NotAsAsked"
	ReasonProgressing     = "Progressing"
	ReasonDegraded        = "Degraded"
	ReasonUnknown         = "Unknown"
)

// unseen are the codes that say that nobody knows what is in the member now.
var unseen = map[string]string{
	plan.CodeClusterNotReady:       "its member cannot be reached",
	plan.CodeCachedRetrievalFailed: "its member cannot be read",
	plan.CodeKindNotInMember:       "its member does not serve the kind",
	plan.CodeUnknownUnit:           "the unit is not there",
	plan.CodeUnitRemade:            "the unit is somewhere else now",
	plan.CodeNotYours:              "the unit is another tenant's",
	plan.CodeAbandoned:             "it was given up",
	plan.CodeMemberChanged:         "another cluster has its member's name",
}

// judge fills in the health of a unit's copy. While a member is only being read again, health stays as it was said: a
// restart of the plane is no news.
func (in Input) judge(e *federated.UnitStatus, before federated.UnitStatus, step *plan.Step, result plan.Result, seen *unstructured.Unstructured) {
	if !in.Health {
		return
	}
	owner, marked := render.OwnerOf(seen)
	why, blind := unseen[e.Code]
	switch {
	case blind && e.Revision != "":
		e.Health, e.HealthMessage = string(health.Unknown), why
	case marked && owner.UID == in.Object.UID, !marked && written(step, result):
		v := health.Of(seen)
		e.Health, e.HealthMessage = string(v.Health), bounded(v.Message, longestHealth)
		if v.Health == health.Healthy && asRecorded(*e, step, result, owner, seen) {
			e.HealthyRevision = e.Revision
		}
	case e.Revision == "":
	case step.Action == plan.Create:
		e.Health, e.HealthMessage = string(health.Degraded), "the copy is gone"
	default:
		e.Health, e.HealthMessage, e.HealthyRevision = before.Health, before.HealthMessage, before.HealthyRevision
	}
}

// written tells whether what is seen is the answer to the plane's own write. Something in the member may take the mark off
// at once; the copy is there all the same.
func written(step *plan.Step, result plan.Result) bool {
	return result.Outcome == plan.Done && result.Object != nil && (step.Action == plan.Create || step.Action == plan.Update)
}

// asRecorded tells whether a copy holds the revision that is on record, unedited.
func asRecorded(e federated.UnitStatus, step *plan.Step, result plan.Result, owner federated.Owner, seen *unstructured.Unstructured) bool {
	if step.Action == plan.Keep || result.Outcome == plan.Done {
		return true
	}
	version, err := step.Lens.Version(seen)
	return err == nil && owner.Revision == e.Revision && version == e.Version
}

// ailing is what there is to say of the health of the units that count.
type ailing struct {
	healthy  int // placed and healthy, held or not
	writable int
	units    []string
	degraded bool
	hopeful  bool // one of them may become healthy by waiting
}

func (a *ailing) count(step *plan.Step, e federated.UnitStatus) {
	if step.Placed && e.Health == string(health.Healthy) {
		a.healthy++
	}
	if step.Held || !step.Placed {
		return
	}
	a.writable++
	if e.HealthyRevision == step.Want || e.Code != "" { // what has a code is told by Propagation
		return
	}
	a.units = append(a.units, fmt.Sprintf("%s: %s", e.Name, e.Health))
	switch health.Health(e.Health) {
	case health.Degraded:
		a.degraded = true
	case health.Progressing:
		a.hopeful = true
	}
}

// healthy is the condition Healthy. Its message names units and no counts, so that a rollout that goes on is no change.
func (in Input) healthy(t tally) federated.Condition {
	say := func(status, reason, message string) federated.Condition {
		return in.condition(Healthy, status, reason, message)
	}
	switch stopped := in.stopped(t); {
	case in.Object.Deleting:
		return say("False", ReasonDeleting, "")
	case stopped != "":
		return say("False", ReasonOnHold, stopped)
	case t.degraded:
		return say("False", ReasonDegraded, few(t.units))
	case len(t.open) > 0:
		return say("False", ReasonNotAsAsked, few(t.open))
	case t.hopeful:
		return say("False", ReasonProgressing, few(t.units))
	case len(t.units) > 0:
		return say("Unknown", ReasonUnknown, few(t.units))
	case t.writable == 0:
		return say("True", ReasonNothingWritable, "no unit is writable now")
	}
	return say("True", ReasonAllHealthy, "")
}

// healthChange tells whether a change of health is worth an event: trouble, and its end.
func healthChange(was, now federated.Condition) (Event, bool) {
	switch {
	case now.Reason == ReasonDegraded:
		return Event{Warning: true, Reason: ReasonDegraded, Message: now.Message}, true
	case was.Reason == ReasonDegraded && now.Status == "True":
		return Event{Reason: "Recovered", Message: "every writable unit is healthy"}, true
	}
	return Event{}, false
}

// without leaves out a condition that nobody keeps any more.
func without(all []federated.Condition, typ string) []federated.Condition {
	out := make([]federated.Condition, 0, len(all))
	for _, c := range all {
		if c.Type != typ {
			out = append(out, c)
		}
	}
	return out
}
