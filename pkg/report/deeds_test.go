package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// kubefed 2: reasons of events are API.
func TestEventsTellOfDeedsUnderKubeFedsReasonsAndOfAllUnitsAtOnce(t *testing.T) {
	step := func(unit string, a plan.Action, outcome plan.Outcome, why plan.Why) finding {
		return finding{plan.Step{Unit: unit, Action: a}, plan.Result{Outcome: outcome, Object: copyOf(unit, 1), Why: why}}
	}
	quota := plan.Why{Code: plan.CodeCreationFailed, Message: "member m1: quota"}
	in := input(
		step("a", plan.Create, plan.Done, plan.Why{}), step("b", plan.Create, plan.Done, plan.Why{}),
		step("c", plan.Update, plan.Done, plan.Why{}), step("d", plan.Create, plan.Failed, quota),
		step("e", plan.Create, plan.Failed, quota), step("f", plan.Delete, plan.Gone, plan.Why{}),
		step("g", plan.Delete, plan.Done, plan.Why{}), step("h", plan.Orphan, plan.Gone, plan.Why{}),
		step("i", plan.Confirm, plan.Gone, plan.Why{}), step("j", plan.Update, plan.Pending, plan.Why{}),
		step("k", plan.Update, plan.Stale, plan.Why{}), asAsked("l"),
	)
	in.Object.Status.Units = []federated.UnitStatus{{Name: "e", Code: plan.CodeCreationFailed}} // was told
	want := []Event{
		{Reason: "CreateInCluster", Message: "created in a; b"},
		{Warning: true, Reason: "CreateInClusterFailed", Message: "d: member m1: quota"},
		{Reason: "UpdateInCluster", Message: "updated in c"},
		{Reason: "DeleteInCluster", Message: "deleted in f; g"},
		{Reason: "WaitForRemovalInCluster", Message: "waiting until it is gone from g"},
		{Reason: "RemoveManagedLabelFromInCluster", Message: "left behind without the plane's marks in h"},
	}
	if diff := cmp.Diff(want, Deeds(in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Deeds(input(asAsked("a"), held("b"))); got != nil {
		t.Errorf("with nothing done: %v", got)
	}
}
