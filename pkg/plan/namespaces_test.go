package plan_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// namespaceInput is the FederatedNamespace of acme-prod, placed in cell a of member m1, with what is seen there.
func namespaceInput(t *testing.T, placed bool, observed *unstructured.Unstructured) plan.Input {
	t.Helper()
	entries := []any{}
	if placed {
		entries = append(entries, map[string]any{"name": "a" + cellTail})
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedNamespace",
		"metadata": map[string]any{"namespace": namespace, "name": namespace, "uid": objectUID, "generation": int64(1)},
		"spec":     map[string]any{"topologyType": "cell", "placement": map[string]any{"clusters": entries}},
	}}
	return plan.Input{Object: federated.Read(u), Plane: planeID, Target: schema.GroupVersionKind{Version: "v1", Kind: "Namespace"},
		Units: []plan.Unit{{Name: "a" + cellTail, Member: "m1", MemberNamespace: "acme-a", CopyName: "acme-a", Observed: observed}}}
}

func memberNamespaceObject(annotations map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "acme-a", "uid": "x"}}}
	u.SetAnnotations(annotations)
	return u
}

// kubefed 3.12: the copy of a namespace is the unit's own; it is written under the name that it has there.
func TestTheCopyOfANamespaceHasTheUnitsNameForIt(t *testing.T) {
	p := plan.Compute(namespaceInput(t, true, nil))
	s := p.Steps[0]
	if s.Action != plan.Create || s.Name != "acme-a" || s.Namespace != "" || s.Object.GetName() != "acme-a" || s.Object.GetNamespace() != "" {
		t.Errorf("%s %q in %q: %v", s.Action, s.Name, s.Namespace, s.Object)
	}
}

// kubefed 3.7: what is there already is adopted only where somebody asks for it; what the plane made itself is the plane's.
func TestANamespaceIsTakenOverOnlyWhereThePlaneMadeItForThisVeryUnit(t *testing.T) {
	maker := func(plane, unit string) map[string]string {
		return map[string]string{wellknown.MadeForAnnotation: federated.Owner{Plane: plane, UID: "somebody", Unit: unit}.String()}
	}
	for name, c := range map[string]struct {
		annotations map[string]string
		change      func(*plan.Input)
		want        plan.Action
		code        string
	}{
		"made for this unit":                        {maker(planeID, "a"+cellTail), nil, plan.Update, ""},
		"made for another unit":                     {maker(planeID, "b"+cellTail), nil, plan.Hold, plan.CodeAlreadyExists},
		"made by another plane":                     {maker("that-plane", "a"+cellTail), nil, plan.Hold, plan.CodeAlreadyExists},
		"made by somebody":                          {nil, nil, plan.Hold, plan.CodeAlreadyExists},
		"says nonsense":                             {map[string]string{wellknown.MadeForAnnotation: "me"}, nil, plan.Hold, plan.CodeAlreadyExists},
		"made by somebody, and adoption asked for":  {nil, func(in *plan.Input) { in.Object.Adopt = true }, plan.Update, ""},
		"made by somebody, and adoption configured": {nil, func(in *plan.Input) { in.AdoptByDefault = true }, plan.Update, ""},
		"an object of another kind":                 {maker(planeID, "a"+cellTail), func(in *plan.Input) { in.Units[0].CopyName = "" }, plan.Hold, plan.CodeAlreadyExists},
	} {
		t.Run(name, func(t *testing.T) {
			in := namespaceInput(t, true, memberNamespaceObject(c.annotations))
			if c.change != nil {
				c.change(&in)
			}
			if s := plan.Compute(in).Steps[0]; s.Action != c.want || s.Why.Code != c.code {
				t.Errorf("%s %+v, want %s %q", s.Action, s.Why, c.want, c.code)
			}
		})
	}
	unmanaged := memberNamespaceObject(maker(planeID, "a"+cellTail))
	unmanaged.SetLabels(map[string]string{wellknown.ManagedLabel: "false"})
	if s := plan.Compute(namespaceInput(t, true, unmanaged)).Steps[0]; s.Why.Code != plan.CodeManagedLabelFalse {
		t.Errorf("%s %+v", s.Action, s.Why)
	}
}

// owned is the unit's copy as the plane wrote it.
func owned(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u := plan.Compute(namespaceInput(t, true, nil)).Steps[0].Object.DeepCopy()
	u.SetUID("x")
	return u
}

// A namespace takes with it all that is in it, so it goes when nothing of the plane is left there; being left behind, it
// waits for nobody.
func TestANamespaceIsDeletedWhenNoOtherCopyLivesInIt(t *testing.T) {
	in := namespaceInput(t, false, owned(t))
	in.Units[0].Occupied = &plan.Why{Code: plan.CodeOccupied, Message: "of FederatedConfigMap acme-prod/web"}
	if s := plan.Compute(in).Steps[0]; s.Action != plan.Wait || s.Why.Code != plan.CodeOccupied || !strings.Contains(s.Why.Message, "web") {
		t.Errorf("%s %+v", s.Action, s.Why)
	}
	in.Units[0].Occupied = nil
	if s := plan.Compute(in).Steps[0]; s.Action != plan.Delete || s.Name != "acme-a" {
		t.Errorf("%s %q %+v", s.Action, s.Name, s.Why)
	}
	in.Object.Deleting, in.Object.HasFinalizer, in.Object.Orphan = true, true, true
	if s := plan.Compute(in).Steps[0]; s.Action != plan.Orphan {
		t.Errorf("%s %+v", s.Action, s.Why)
	}
}

// narrowed is a FederatedConfigMap in cells a and b, of which a holds a copy, under a FederatedNamespace.
func narrowed(t *testing.T, ns *federated.Object, strict bool) map[string]plan.Step {
	t.Helper()
	name := func(cell string) map[string]any { return map[string]any{"name": cell + cellTail} }
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"namespace": namespace, "name": "web", "uid": objectUID, "generation": int64(1)},
		"spec":     map[string]any{"topologyType": "cell", "placement": map[string]any{"clusters": []any{name("a"), name("b")}}},
		"status":   map[string]any{"clusters": []any{map[string]any{"name": "a" + cellTail, "inventory": true, "revision": "old"}}},
	}}
	in := plan.Input{Object: federated.Read(u), Plane: planeID, Target: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, TargetNamespaced: true,
		Units:           []plan.Unit{{Name: "a" + cellTail, Member: "m1", MemberNamespace: "acme-a"}, {Name: "b" + cellTail, Member: "m2", MemberNamespace: "acme-b"}},
		NamespaceObject: ns, StrictNamespaces: strict}
	steps := map[string]plan.Step{}
	for _, s := range plan.Compute(in).Steps {
		steps[strings.TrimSuffix(s.Unit, cellTail)] = s
	}
	return steps
}

// kubefed 3.2: objects are placed within the placement of their FederatedNamespace. That there is none, or one that cannot be
// read, deletes nothing, where KubeFed deletes everything.
func TestAFederatedNamespaceNarrowsAndItsAbsenceDeletesNothing(t *testing.T) {
	admits := func(change func(*federated.Object), cells ...string) *federated.Object {
		o := &federated.Object{Kind: "FederatedNamespace", Namespace: namespace, Name: namespace, TopologyType: "cell", Placement: federated.Selection{Named: true}}
		for _, c := range cells {
			o.Placement.Names = append(o.Placement.Names, c+cellTail)
		}
		if change != nil {
			change(o)
		}
		return o
	}
	for name, c := range map[string]struct {
		ns     *federated.Object
		strict bool
		a, b   plan.Action // "" = no word of the unit
		code   string      // of b
	}{
		"there is none":                      {nil, false, plan.Create, plan.Create, ""},
		"there is none, and must be":         {nil, true, plan.Create, plan.Hold, plan.CodeNamespaceNotFederated},
		"it admits both":                     {admits(nil, "a", "b"), true, plan.Create, plan.Create, ""},
		"it admits one":                      {admits(nil, "b"), false, plan.Confirm, plan.Create, ""},
		"it admits none":                     {admits(nil), false, plan.Confirm, "", ""},
		"it says nothing of a placement":     {admits(func(o *federated.Object) { o.Placement = federated.Selection{} }), false, plan.Create, "", ""},
		"it is being deleted":                {admits(func(o *federated.Object) { o.Deleting = true }, "b"), false, plan.Create, "", ""},
		"it cannot be read":                  {admits(func(o *federated.Object) { o.Faults = []federated.Fault{{Path: "spec"}} }), false, plan.Create, "", ""},
		"it speaks of another topology type": {admits(func(o *federated.Object) { o.TopologyType = "cluster" }), false, plan.Create, plan.Create, ""},
	} {
		t.Run(name, func(t *testing.T) {
			steps := narrowed(t, c.ns, c.strict)
			if steps["a"].Action != c.a || steps["b"].Action != c.b || steps["b"].Why.Code != c.code {
				t.Errorf("a: %s, b: %s %q; want a: %s, b: %s %q", steps["a"].Action, steps["b"].Action, steps["b"].Why.Code, c.a, c.b, c.code)
			}
		})
	}
}

// Law 7: what a FederatedNamespace's mask keeps as it is, is kept for the objects in it too. Where its namespace is, they
// may be; where it is not placed yet, nothing new comes; and no copy goes because of an edit that the mask keeps away.
func TestAFederatedNamespaceNarrowsNothingOutsideItsMask(t *testing.T) {
	named := func(cells ...string) federated.Selection {
		s := federated.Selection{Named: true}
		for _, c := range cells {
			s.Names = append(s.Names, c+cellTail)
		}
		return s
	}
	for name, c := range map[string]struct {
		placed, mask federated.Selection
		there        []string // where the namespace is
		a, b         plan.Action
	}{
		"it left both, which are not in its mask":     {named(), named(), []string{"a", "b"}, plan.Create, plan.Create},
		"it left both, and its mask admits a":         {named(), named("a"), []string{"a", "b"}, plan.Confirm, plan.Create},
		"it was never in b, which is not in its mask": {named("a", "b"), named("a"), []string{"a"}, plan.Create, ""},
		"it was in neither, and its mask admits none": {named("a", "b"), named(), nil, plan.Create, ""},
		"its mask admits both":                        {named("b"), named("a", "b"), []string{"a", "b"}, plan.Confirm, plan.Create},
	} {
		t.Run(name, func(t *testing.T) {
			ns := &federated.Object{Kind: "FederatedNamespace", Namespace: namespace, Name: namespace, TopologyType: "cell",
				Placement: c.placed, Mask: &c.mask}
			for _, cell := range c.there {
				ns.Status.Units = append(ns.Status.Units, federated.UnitStatus{Name: cell + cellTail, Inventory: true})
			}
			if steps := narrowed(t, ns, false); steps["a"].Action != c.a || steps["b"].Action != c.b {
				t.Errorf("a: %s, b: %s; want a: %s, b: %s", steps["a"].Action, steps["b"].Action, c.a, c.b)
			}
		})
	}
}

// kubefed 3.8 and 3.9: delete options count when the federated object is deleted, and only then; what cannot be read is
// told, and stops no deletion.
func TestDeleteOptionsAreThoseOfTheObjectsDeletion(t *testing.T) {
	const options = `{"gracePeriodSeconds":5}`
	for name, c := range map[string]struct {
		raw      string
		deleting bool
		want     string
		told     string
	}{
		"the object is deleted":       {options, true, options, "is being removed"},
		"the unit left the placement": {options, false, "", "is being removed"},
		"they cannot be read":         {"x", true, "", "with default options: annotation kubefed.io/deleteoption cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			in := namespaceInput(t, false, owned(t))
			in.Object.DeleteOptions, in.Object.Deleting, in.Object.HasFinalizer = c.raw, c.deleting, true
			s := plan.Compute(in).Steps[0]
			if s.Action != plan.Delete || s.DeleteOptions != c.want || !strings.Contains(s.Why.Message, c.told) {
				t.Errorf("%s with %q: %+v", s.Action, s.DeleteOptions, s.Why)
			}
		})
	}
}

// Law 12: what is in the members counts like what is recorded. A frozen namespace keeps copies of which status has lost
// every word.
func TestAFrozenNamespaceKeepsCopiesThatOnlyTheirMarkTellsOf(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"namespace": namespace, "name": "web", "uid": objectUID, "generation": int64(1)},
		"spec":     map[string]any{"topologyType": "cell", "placement": map[string]any{"clusters": []any{map[string]any{"name": "a" + cellTail}}}},
	}}
	there := memberNamespaceObject(map[string]string{
		wellknown.OwnerAnnotation: federated.Owner{Plane: planeID, UID: objectUID, Unit: "a" + cellTail, Revision: "r"}.String()})
	there.SetLabels(map[string]string{wellknown.ManagedLabel: wellknown.ManagedTrue})
	for name, frozen := range map[string]*federated.Object{
		"by a namespace that is being deleted":            {TopologyType: "cell", Placement: federated.Selection{Named: true}, Deleting: true},
		"by a namespace that says nothing of a placement": {TopologyType: "cell"},
		"by a namespace whose mask keeps the unit":        {TopologyType: "cell", Placement: federated.Selection{Named: true}, Mask: &federated.Selection{Named: true}},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan.Compute(plan.Input{Object: federated.Read(u), Plane: planeID, Target: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
				TargetNamespaced: true, NamespaceObject: frozen,
				Units: []plan.Unit{{Name: "a" + cellTail, Member: "m1", MemberNamespace: "acme-a", Observed: there}}})
			if s := p.Steps[0]; s.Action == plan.Delete || !s.Placed {
				t.Errorf("%s, placed %t: %+v", s.Action, s.Placed, s.Why)
			}
		})
	}
}
