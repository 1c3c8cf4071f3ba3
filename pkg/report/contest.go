package report

import (
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// Contested is True while somebody in a member keeps changing what is asked for and the plane has stopped putting it
// back. The condition is there once it has been True.
const Contested = "Contested"

// Reasons of the condition Contested.
const (
	ReasonKeepsChanging = "KeepsChanging"
	ReasonSettled       = "Settled"
)

// contest is the condition Contested; false = it was never so.
func (in Input) contest(t tally) (federated.Condition, bool) {
	if len(t.contested) > 0 {
		return in.condition(Contested, "True", ReasonKeepsChanging, few(t.contested)), true
	}
	_, was := in.Object.Status.Condition(Contested)
	return in.condition(Contested, "False", ReasonSettled, ""), was
}

// contestChange is the event about a contest that began or ended.
func contestChange(now federated.Condition, known bool) (Event, bool) {
	if now.Status == "True" {
		return Event{Warning: true, Reason: Contested, Message: now.Message}, true
	}
	return Event{Reason: "ContestSettled", Message: "nobody changes what is asked for any more"}, known
}

// unsupported are the events about what a template says in vain: once for each generation.
func (in Input) unsupported() []Event {
	if in.Object.Status.ObservedGeneration == in.Object.Generation {
		return nil
	}
	events := make([]Event, 0, len(in.Plan.Unsupported))
	for _, u := range in.Plan.Unsupported {
		events = append(events, Event{Warning: true, Reason: u.Code, Message: bounded(u.Message, longest)})
	}
	return events
}

// quarrel is what a unit's entry tells of a contest; "" = nothing.
func quarrel(e federated.UnitStatus) string {
	if e.Code != plan.CodeContested {
		return ""
	}
	return e.Name + ": " + e.Message
}
