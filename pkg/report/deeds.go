package report

import (
	"fmt"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// Reasons of events about what was done in members. They are KubeFed's; where it tells of each cluster by itself, one event
// tells of all units of which there is the same to say.
const (
	ReasonCreated   = "CreateInCluster"
	ReasonUpdated   = "UpdateInCluster"
	ReasonDeleted   = "DeleteInCluster"
	ReasonWaits     = "WaitForRemovalInCluster"
	ReasonUnlabeled = "RemoveManagedLabelFromInCluster"
	// failedSuffix makes of a reason that of its failure.
	failedSuffix = "Failed"
)

// Deeds are the events about what was done in members just now. A failure is told when it is new.
func Deeds(in Input) []Event {
	done := map[string][]string{}
	for i := range in.Plan.Steps {
		step := &in.Plan.Steps[i]
		before, _ := in.Object.Status.Unit(step.Unit)
		for _, reason := range deeds(step, in.Results[step.Unit], before) {
			unit := step.Unit
			if in.Results[step.Unit].Outcome == plan.Failed {
				unit += ": " + in.Results[step.Unit].Why.Message
			}
			done[reason] = append(done[reason], unit)
		}
	}
	var events []Event
	for _, d := range []struct{ reason, text string }{
		{ReasonCreated, "created in %s"}, {ReasonUpdated, "updated in %s"}, {ReasonDeleted, "deleted in %s"},
		{ReasonWaits, "waiting until it is gone from %s"}, {ReasonUnlabeled, "left behind without the plane's marks in %s"},
	} {
		if units := done[d.reason]; len(units) > 0 {
			events = append(events, Event{Reason: d.reason, Message: bounded(fmt.Sprintf(d.text, few(units)), longest)})
		}
		if units := done[d.reason+failedSuffix]; len(units) > 0 {
			events = append(events, Event{Warning: true, Reason: d.reason + failedSuffix, Message: bounded(few(units), longest)})
		}
	}
	return events
}

// deeds are the reasons for telling of one step's result.
func deeds(step *plan.Step, r plan.Result, before federated.UnitStatus) []string {
	reason := map[plan.Action]string{plan.Create: ReasonCreated, plan.Update: ReasonUpdated, plan.Delete: ReasonDeleted,
		plan.Orphan: ReasonUnlabeled}[step.Action]
	switch {
	case reason == "":
		return nil
	case r.Outcome == plan.Failed && before.Code != r.Why.Code:
		return []string{reason + failedSuffix}
	case r.Outcome == plan.Done && step.Action == plan.Delete:
		return []string{ReasonDeleted, ReasonWaits}
	case r.Outcome == plan.Done, r.Outcome == plan.Gone:
		return []string{reason}
	}
	return nil
}
