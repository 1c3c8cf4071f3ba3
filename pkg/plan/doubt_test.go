package plan_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// question is an object placed in one unit, as plainly as it gets, for the questions that stories do not ask.
func question(change func(*plan.Input)) plan.Step {
	in := plan.Input{
		Plane: "p", Target: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, TargetNamespaced: true,
		Object: &federated.Object{
			Kind: "FederatedConfigMap", Namespace: "acme", Name: "web", UID: "uid", Generation: 1, HasFinalizer: true, TopologyType: "cell",
			Template:  map[string]any{"data": map[string]any{"x": "y"}},
			Placement: federated.Selection{Named: true, Names: []string{"a.acme.cell"}},
		},
		Units: []plan.Unit{{Name: "a.acme.cell", Member: "m1", MemberNamespace: "acme"}},
	}
	change(&in)
	p := plan.Compute(in)
	if len(p.Steps) == 0 {
		return plan.Step{}
	}
	return p.Steps[0]
}

// there is an object in the member with an owner mark.
func there(owner federated.Owner, labels map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	u.SetName("web")
	u.SetNamespace("acme")
	u.SetUID(types.UID("copy"))
	u.SetLabels(labels)
	u.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: owner.String()})
	return u
}

var (
	managed = map[string]string{wellknown.ManagedLabel: wellknown.ManagedTrue}
	ours    = federated.Owner{Plane: "p", UID: "uid", Unit: "a.acme.cell", Revision: "r"}
)

func TestAUnitThatWasMadeAnewElsewhereIsHeldOnDoubt(t *testing.T) {
	elsewhere := []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true, Revision: "r", Cluster: "m0", MemberNamespace: "acme"}}
	for name, change := range map[string]func(*plan.Input){
		"when it is placed":             func(*plan.Input) {},
		"when it left the placement":    func(in *plan.Input) { in.Object.Placement.Names = nil },
		"when the object is deleted":    func(in *plan.Input) { in.Object.Deleting = true },
		"when only the namespace moved": func(in *plan.Input) { in.Object.Status.Units[0].Cluster, in.Units[0].MemberNamespace = "m1", "other" },
	} {
		t.Run(name, func(t *testing.T) {
			s := question(func(in *plan.Input) {
				in.Object.Status.Units = append([]federated.UnitStatus(nil), elsewhere...)
				change(in)
			})
			if s.Action != plan.Hold || s.Why.Code != plan.CodeUnitRemade {
				t.Errorf("%s, %+v; want held as %s", s.Action, s.Why, plan.CodeUnitRemade)
			}
		})
	}
}

func TestADeletionWithoutARecordWaitsForMembersThatCannotBeAsked(t *testing.T) {
	away := &plan.Why{Code: plan.CodeClusterNotReady}
	for name, tc := range map[string]struct {
		change func(*plan.Input)
		want   plan.Action
	}{
		"a member that is away may have a mark":    {func(in *plan.Input) {}, plan.Wait},
		"one that is read says that there is none": {func(in *plan.Input) { in.Units[0].NotConnected = nil }, ""},
		"an object that was never written is gone": {func(in *plan.Input) { in.Written = false }, ""},
		"an entry that tells of no copy is enough": {func(in *plan.Input) {
			in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Held: true}}
		}, ""},
		"and an entry of the inventory is waited for": {func(in *plan.Input) {
			in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true}}
		}, plan.Wait},
	} {
		t.Run(name, func(t *testing.T) {
			s := question(func(in *plan.Input) {
				in.Object.Deleting, in.Written, in.Units[0].NotConnected = true, true, away
				tc.change(in)
			})
			if s.Action != tc.want {
				t.Errorf("%q, %+v; want %q", s.Action, s.Why, tc.want)
			}
		})
	}
}

func TestAdoptionNeverTakesAnotherUnitsCopy(t *testing.T) {
	theirs := federated.Owner{Plane: "p", UID: "other", Unit: "b.acme.cell", Revision: "r"}
	before := federated.Owner{Plane: "p", UID: "dead", Unit: "a.acme.cell"}
	abroad := federated.Owner{Plane: "q", UID: "x", Unit: "b.acme.cell"}
	renamed := ours
	renamed.Plane = "before"
	for name, tc := range map[string]struct {
		owner federated.Owner
		had   string // the revision that the unit had
		want  plan.Action
	}{
		"the copy of another unit of this plane is left alone": {theirs, "", plan.Hold},
		"that of a life before, for the same unit, is taken":   {before, "", plan.Update},
		"also when it came back":                               {before, "r", plan.Update},
		"that of another plane is taken":                       {abroad, "", plan.Update},
		"but not taken back, or two planes would never end":    {abroad, "r", plan.Hold},
		"that of this object under the plane's name before is": {renamed, "r", plan.Update},
		"a stranger's that came in place of the copy is, too":  {federated.Owner{}, "r", plan.Update},
	} {
		t.Run(name, func(t *testing.T) {
			s := question(func(in *plan.Input) {
				in.Object.Adopt = true
				in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true, Revision: tc.had}}
				in.Units[0].Observed = there(tc.owner, managed)
			})
			if s.Action != tc.want {
				t.Errorf("%s, %+v; want %s", s.Action, s.Why, tc.want)
			}
		})
	}
}

func TestWhatNoWatchShowsIsLookedAtAgainBeforeItIsBelieved(t *testing.T) {
	now := metav1.Now()
	for name, change := range map[string]func(*plan.Input){
		"a foreign object that is being deleted": func(in *plan.Input) {
			in.Units[0].Observed = there(federated.Owner{}, nil)
			in.Units[0].Observed.SetDeletionTimestamp(&now)
		},
		"our copy without its label, being deleted with the object": func(in *plan.Input) {
			in.Object.Deleting = true
			in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true, Revision: "r"}}
			in.Units[0].Observed = there(ours, nil)
			in.Units[0].Observed.SetDeletionTimestamp(&now)
		},
		"a copy that its member disowned, when the unit leaves": func(in *plan.Input) {
			in.Object.Placement.Names = nil
			in.Object.Status.Units = []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true, Revision: "r"}}
			in.Units[0].Observed = there(ours, map[string]string{wellknown.ManagedLabel: wellknown.ManagedFalse})
		},
	} {
		t.Run(name, func(t *testing.T) {
			young, old := question(change), question(func(in *plan.Input) {
				change(in)
				in.Units[0].Probe = true
			})
			if young.Action == plan.Confirm || old.Action != plan.Confirm {
				t.Errorf("young: %s; old: %s, want %s only then", young.Action, old.Action, plan.Confirm)
			}
		})
	}
}

func TestAFinalizerThatSomebodyTookAwayIsPutBack(t *testing.T) {
	in := plan.Input{Object: &federated.Object{Kind: "FederatedConfigMap", Namespace: "acme", Name: "web", UID: "uid", TopologyType: "cell",
		Placement: federated.Selection{Named: true, Names: []string{"a.acme.cell"}},
		Status:    federated.Status{Units: []federated.UnitStatus{{Name: "a.acme.cell", Inventory: true}}}},
		Units: []plan.Unit{{Name: "a.acme.cell", Member: "m1", NotConnected: &plan.Why{Code: plan.CodeClusterNotReady}}}}
	if p := plan.Compute(in); !p.AddFinalizer {
		t.Error("an object with an inventory stays without the finalizer")
	}
	in.Object.Deleting = true
	if p := plan.Compute(in); p.AddFinalizer {
		t.Error("an object that is being deleted cannot get one")
	}
}
