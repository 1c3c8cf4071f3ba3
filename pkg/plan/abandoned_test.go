package plan_test

import (
	"testing"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// TestWhatWasGivenUpIsForgottenAndNotTouched says, for the one unit of an object whose copy is recorded in a place, what
// is done when places were given up.
func TestWhatWasGivenUpIsForgottenAndNotTouched(t *testing.T) {
	recorded := federated.UnitStatus{Name: "a.acme.cell", Inventory: true, Revision: "r", Cluster: "m1", MemberNamespace: "acme", ClusterID: "id-1"}
	deleted := func(in *plan.Input) { in.Object.Deleting = true }
	left := func(in *plan.Input) { in.Object.Placement.Names = nil }
	placed := func(*plan.Input) {}
	away := func(in *plan.Input) { in.Units[0].NotConnected = &plan.Why{Code: plan.CodeClusterNotReady} }
	present := func(in *plan.Input) { in.Units[0].Observed = there(ours, managed) }
	noUnit := func(in *plan.Input) { in.Units = nil }
	moved := func(in *plan.Input) { in.Units[0].Member, in.Units[0].MemberID = "m2", "id-2" }
	renamed := func(in *plan.Input) { in.Units[0].MemberNamespace = "other" }
	repointed := func(in *plan.Input) { in.Units[0].MemberID = "id-2" }
	all := func(changes ...func(*plan.Input)) func(*plan.Input) {
		return func(in *plan.Input) {
			for _, c := range changes {
				c(in)
			}
		}
	}
	member := plan.Abandonment{Cluster: "m1", ClusterID: "id-1"}
	for name, tc := range map[string]struct {
		given  plan.Abandonment
		change func(*plan.Input)
		action plan.Action
		code   string
	}{
		"deleted, its member away":                                {member, all(deleted, away), plan.Drop, ""},
		"deleted, its member back with the copy":                  {member, all(deleted, present), plan.Drop, ""},
		"deleted, its unit and member gone":                       {member, all(deleted, noUnit), plan.Drop, ""},
		"out of the placement":                                    {member, all(left, away), plan.Drop, ""},
		"out of the placement, its member back with the copy":     {member, all(left, present), plan.Drop, ""},
		"placed: nothing is written, and the record stays":        {member, all(placed, present), plan.Hold, plan.CodeAbandoned},
		"placed, its unit gone":                                   {member, all(placed, noUnit), plan.Hold, plan.CodeUnknownUnit},
		"another member was given up":                             {plan.Abandonment{Cluster: "m9"}, all(deleted, away), plan.Wait, plan.CodeClusterNotReady},
		"another cluster of the name was given up":                {plan.Abandonment{Cluster: "m1", ClusterID: "id-0"}, all(deleted, away), plan.Wait, plan.CodeClusterNotReady},
		"another unit was given up":                               {plan.Abandonment{Cluster: "m1", Unit: "b.acme.cell"}, all(deleted, away), plan.Wait, plan.CodeClusterNotReady},
		"this unit was given up":                                  {plan.Abandonment{Cluster: "m1", Unit: "a.acme.cell"}, all(deleted, away), plan.Drop, ""},
		"the unit is on another member now, and starts anew":      {member, all(placed, moved), plan.Create, ""},
		"…and is deleted":                                         {member, all(deleted, moved), plan.Drop, ""},
		"the unit moved and nothing was given up":                 {plan.Abandonment{}, all(placed, moved), plan.Hold, plan.CodeUnitRemade},
		"the member is another cluster now":                       {plan.Abandonment{}, all(placed, repointed), plan.Hold, plan.CodeMemberChanged},
		"…and the object is deleted":                              {plan.Abandonment{}, all(deleted, repointed), plan.Hold, plan.CodeMemberChanged},
		"…and the former one was given up: it starts anew":        {member, all(placed, repointed), plan.Create, ""},
		"…and the former one was given up: the object goes":       {member, all(deleted, repointed), plan.Drop, ""},
		"the unit has another namespace, and the former is given": {plan.Abandonment{Cluster: "m1", Unit: "a.acme.cell", MemberNamespace: "acme"}, all(placed, renamed), plan.Create, ""},
		"…and all of the unit is given up":                        {plan.Abandonment{Cluster: "m1", Unit: "a.acme.cell"}, all(placed, renamed), plan.Hold, plan.CodeAbandoned},
	} {
		t.Run(name, func(t *testing.T) {
			s := question(func(in *plan.Input) {
				in.Object.Status.Units = []federated.UnitStatus{recorded}
				in.Units[0].MemberID = "id-1"
				in.Abandonments = []plan.Abandonment{tc.given}
				tc.change(in)
			})
			if s.Action != tc.action || s.Why.Code != tc.code {
				t.Errorf("%s %+v; want %s %s", s.Action, s.Why, tc.action, tc.code)
			}
		})
	}
}

func TestAMemberOfAnObjectWithoutRecordsOfPlacesIsGivenUpByItsName(t *testing.T) {
	s := question(func(in *plan.Input) {
		in.Object.TopologyType, in.Object.Deleting, in.Units = "cluster", true, nil
		in.Object.Status.Units = []federated.UnitStatus{{Name: "m1", Inventory: true, Revision: "r"}}
		in.Abandonments = []plan.Abandonment{{Cluster: "m1", ClusterID: "id-1"}}
	})
	if s.Action != plan.Drop {
		t.Errorf("%s %+v; want forgotten", s.Action, s.Why)
	}
}
