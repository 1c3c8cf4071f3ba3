package plan_test

import (
	"strings"
	"testing"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

func TestAnObjectOfNobodyKnowsWhomStandsStillItsDeletionToo(t *testing.T) {
	for name, change := range map[string]func(*plan.Input){
		"placed":                      func(*plan.Input) {},
		"deleted":                     func(in *plan.Input) { in.Object.Deleting = true },
		"deleted, and nothing is put": func(in *plan.Input) { in.Object.Deleting, in.Object.Status.Units = true, nil },
		"deleted, units known":        func(in *plan.Input) { in.Object.Deleting = true; in.Units[0].Observed = there(ours, managed) },
	} {
		t.Run(name, func(t *testing.T) {
			var p plan.Plan
			question(func(in *plan.Input) {
				in.Unowned = &plan.Why{Code: plan.CodeOnHold, Message: "who owns it?"}
				in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true, Revision: "r", Cluster: "m1", MemberNamespace: "acme"}}
				change(in)
				p = plan.Compute(*in)
			})
			for _, s := range p.Steps {
				if s.Action != plan.Hold {
					t.Errorf("%s: %s", s.Unit, s.Action)
				}
			}
			if p.Stopped == nil || p.Finished(nil) {
				t.Errorf("stopped: %v, finished: %v", p.Stopped, p.Finished(nil))
			}
		})
	}
}

func TestAUnitThatIsNotYoursIsNeitherWrittenNorAskedNorForgotten(t *testing.T) {
	for name, change := range map[string]func(*plan.Input){
		"placed":             func(*plan.Input) {},
		"left the placement": func(in *plan.Input) { in.Object.Placement.Names = nil },
		"deleted":            func(in *plan.Input) { in.Object.Deleting = true },
		"deleted, when its status was lost": func(in *plan.Input) {
			in.Object.Deleting, in.Written, in.Object.Status.Units = true, true, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := question(func(in *plan.Input) {
				in.Units[0].NotYours = &plan.Why{Code: plan.CodeNotYours, Message: "not granted"}
				in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true, Revision: "r", Cluster: "m1", MemberNamespace: "acme"}}
				change(in)
			})
			if s.Action != plan.Hold || s.Why.Code != plan.CodeNotYours {
				t.Errorf("%q %+v", s.Action, s.Why)
			}
		})
	}
}

func TestACopyOfAnotherNamespaceIsNotNamed(t *testing.T) {
	for unit, named := range map[string]bool{"b.acme.cell": true, "b.rival.cell": false, "hz-1": false} {
		s := question(func(in *plan.Input) {
			in.Units[0].Observed = there(federated.Owner{Plane: "p", UID: "another", Unit: unit}, managed)
		})
		if s.Action != plan.Hold || s.Why.Code != plan.CodeAlreadyExists || strings.Contains(s.Why.Message, unit) != named || strings.Contains(s.Why.Message, "rival") {
			t.Errorf("%s: %s %+v", unit, s.Action, s.Why)
		}
	}
}
