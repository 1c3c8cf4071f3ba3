package cli

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/topology"
)

// rolling is a plane in the midst of a gray release, and options that roll it back.
type rolling struct {
	*rollbackOptions
	out  *bytes.Buffer
	fake *dynamicfake.FakeDynamicClient
}

func newRolling(t *testing.T, to string, objs ...runtime.Object) *rolling {
	t.Helper()
	if len(objs) == 0 {
		objs = grayRelease(t)
	}
	r := &rolling{out: &bytes.Buffer{}, rollbackOptions: &rollbackOptions{to: to, dryRun: dryRunNone, output: outputTable}}
	if err := r.parse([]string{"federateddeployment/web"}); err != nil {
		t.Fatal(err)
	}
	r.namespace, r.rollbackOptions.out = "acme-prod", r.out
	r.plane, r.fake = planeWith(t, objs...)
	return r
}

// masking says --mask.
func (r *rolling) masking(units ...string) *rolling {
	r.mask, r.masked = units, true
	return r
}

// written is the one object that was written, and nil if none was.
func (r *rolling) written(t *testing.T) (*unstructured.Unstructured, clienttesting.UpdateActionImpl) {
	t.Helper()
	var found []clienttesting.UpdateActionImpl
	for _, a := range r.fake.Actions() {
		if u, ok := a.(clienttesting.UpdateActionImpl); ok {
			found = append(found, u)
		}
	}
	if len(found) > 1 || len(writes(r.fake)) != len(found) {
		t.Fatalf("written were %v", writes(r.fake))
	}
	if len(found) == 0 {
		return nil, clienttesting.UpdateActionImpl{}
	}
	return found[0].Object.(*unstructured.Unstructured), found[0]
}

func TestRollbackUnderAMaskGivesItsUnitsTheRevisionExactly(t *testing.T) {
	_, oldB := content(t, oldContentOfB)
	_, newA := content(t, newContent)
	for name, mask := range map[string][]string{
		"short names": {"a"}, "full names": {"a.acme-prod.cell"}, "twice the same": {"a", "a.acme-prod.cell"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRolling(t, oldB[:8]).masking(mask...)
			if err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			u, action := r.written(t)
			want := object(t, `{kind: X, spec: {topologyType: cell, placement: {topologies: [{name: a}, {name: b}, {name: c}]},
				placementMask: {topologies: [{name: a}]}, template: {spec: {image: "web:1"}},
				overrides: [{topologyName: b, topologyOverrides: [{path: /spec/replicas, value: 5}]}, {topologyName: a, topologyOverrides: [{path: /spec/replicas, value: 5}]}]}}`)
			if diff := cmp.Diff(want.Object["spec"], u.Object["spec"]); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if u.GetResourceVersion() != "77" || u.GetAPIVersion() != "types.kubefed.io/v2beta1" || action.GetResource().Version != "v2beta1" {
				t.Errorf("written as %s at %q", u.GetAPIVersion(), u.GetResourceVersion())
			}
			// The manifest is what the plane computes from, too.
			if got, err := readTopologyForm(u).ContentFor("a.acme-prod.cell").Revision(); err != nil || got != oldB {
				t.Errorf("a is asked for %s", got)
			}
			says := fmt.Sprintf(`FederatedDeployment acme-prod/web asks for %s.
The mask: becomes: only a may change.
UNIT   NOW          THEN         WHY
a      %s   %s   gets it; its overrides (0) become those of the revision (1)
b      %s   %s   stays: the mask does not admit it
c      -            -            is not made: the mask does not admit it
`, oldB, newA[:10], oldB[:10], oldB[:10], oldB[:10])
			if diff := cmp.Diff(says, withoutTrailingSpace(r.out.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRollbackWithoutAMaskGivesTheTemplateToAllAndLeavesTheMask(t *testing.T) {
	_, oldA := content(t, oldContent)
	_, oldB := content(t, oldContentOfB)
	r := newRolling(t, oldA)
	web := grayRelease(t)[0].(*unstructured.Unstructured)
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, _ := r.written(t)
	want := web.DeepCopy()
	want.Object["spec"].(map[string]any)["template"] = map[string]any{"spec": map[string]any{"image": "web:1"}}
	if diff := cmp.Diff(want.Object, u.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, says := range []string{"The mask: stays as it is: only a may change.", oldA[:10] + "   gets it\n", "b      " + oldB[:10] + "   " + oldB[:10] + "   stays: "} {
		if !strings.Contains(r.out.String(), says) {
			t.Errorf("%q is not said:\n%s", says, r.out)
		}
	}

	delete(web.Object["spec"].(map[string]any), "placementMask")
	r = newRolling(t, oldA, append(grayRelease(t)[1:], web)...)
	r.output = outputJSON
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"there is none, and every unit may change", `"why": "has it already"`, `"why": "gets it"`, `"image": "web:1"`, `"changed": true`} {
		if !strings.Contains(r.out.String(), says) {
			t.Errorf("%s is not said:\n%s", says, r.out)
		}
	}
}

// Units that run the revision get its overrides back, though somebody has changed them since.
func TestRollbackWithoutAMaskRestoresTheOverridesOfWhoRunsTheRevision(t *testing.T) {
	_, oldB := content(t, oldContentOfB)
	web := grayRelease(t)[0].(*unstructured.Unstructured)
	web.Object["spec"].(map[string]any)["overrides"] = object(t, `{kind: X, l: [
		{topologyName: c, topologyOverrides: [{path: /spec/c, value: 1}]},
		{clusterName: b.other.cell, topologyOverrides: [{path: /spec/x, value: 1}]},
		{topologyName: b, topologyOverrides: [{path: /spec/replicas, value: 6}, {path: /spec/more, value: 6}]}]}`).Object["l"]
	r := newRolling(t, oldB, append(grayRelease(t)[1:], web)...)
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, _ := r.written(t)
	want := object(t, `{kind: X, l: [
		{topologyName: c, topologyOverrides: [{path: /spec/c, value: 1}]},
		{clusterName: b.other.cell, topologyOverrides: [{path: /spec/x, value: 1}]},
		{topologyName: b, topologyOverrides: [{path: /spec/replicas, value: 5}]}]}`).Object["l"]
	if diff := cmp.Diff(want, u.Object["spec"].(map[string]any)["overrides"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRollbackRemovesTheEntryOfAUnitWhoseRevisionHadNone(t *testing.T) {
	_, oldA := content(t, oldContent)
	r := newRolling(t, oldA).masking("b")
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, _ := r.written(t)
	if _, there := u.Object["spec"].(map[string]any)["overrides"]; there {
		t.Errorf("overrides are %v", u.Object["spec"])
	}
}

func TestRollbackByASelector(t *testing.T) {
	_, oldA := content(t, oldContent)
	r := newRolling(t, oldA, append(grayRelease(t), objectsOf(t,
		`{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: a, namespace: acme-prod, labels: {city: hangzhou}}, spec: {topologyType: cell, cluster: hz-1}}`,
		`{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: b, namespace: acme-prod, labels: {city: shanghai}}, spec: {topologyType: cell, cluster: hz-1}}`,
		`{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: elsewhere, namespace: acme-prod, labels: {city: hangzhou}}, spec: {topologyType: cell, cluster: hz-1}}`,
	)...)...)
	r.maskSelector, r.selected = "city in (hangzhou), !closed", true
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, _ := r.written(t)
	want := object(t, `{kind: X, m: {topologySelector: {matchExpressions: [{key: city, operator: In, values: [hangzhou]}, {key: closed, operator: DoesNotExist}]}}}`).Object["m"]
	got := u.Object["spec"].(map[string]any)["placementMask"]
	// Requirements come sorted or not, by their parser's choice.
	slices.SortFunc(got.(map[string]any)["topologySelector"].(map[string]any)["matchExpressions"].([]any), func(a, b any) int {
		return strings.Compare(a.(map[string]any)["key"].(string), b.(map[string]any)["key"].(string))
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mask (-want +got):\n%s", diff)
	}
	if !strings.Contains(r.out.String(), "becomes: only a may change") {
		t.Error(r.out)
	}
}

func TestRollbackOfTopologyClusterWritesTheClusterForm(t *testing.T) {
	_, oldA := content(t, oldContent)
	web := object(t, `
apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {name: web, namespace: acme-prod, generation: 2, uid: uid-web, resourceVersion: "77"}
spec: {placement: {topologies: [{name: hz-1}, {name: hz-2}]}, template: {spec: {image: "web:2"}}}
`)
	r := newRolling(t, oldA, append(grayRelease(t)[1:], web)...).masking("hz-2")
	// The fake keeps objects by version.
	stored := &unstructured.Unstructured{Object: topology.ToClusterForm(web.Object)}
	if err := r.fake.Tracker().Create(federatedDeployments, stored, "acme-prod"); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, action := r.written(t)
	want := object(t, `{kind: X, spec: {placement: {clusters: [{name: hz-1}, {name: hz-2}]}, placementMask: {clusters: [{name: hz-2}]}, template: {spec: {image: "web:1"}}}}`)
	if diff := cmp.Diff(want.Object["spec"], u.Object["spec"]); diff != "" || u.GetAPIVersion() != "types.kubefed.io/v1beta1" || action.GetResource().Version != "v1beta1" {
		t.Errorf("%s (-want +got):\n%s", u.GetAPIVersion(), diff)
	}
}

func TestNumbersSurviveARollback(t *testing.T) {
	const numbers = `{"template":{"big":9007199254740993,"most":9223372036854775807,"least":-9223372036854775808,"fraction":0.1,"huge":1e21,"tiny":5e-324,"null":null,"text":"1.0","list":[1,2.5,{}]}}`
	_, old := content(t, numbers)
	r := newRolling(t, old, grayRelease(t)[0], kept(t, "uid-web", numbers, 1, "1", noon)).masking("a")
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, _ := r.written(t)
	raw, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `"template":{"big":9007199254740993,"fraction":0.1,"huge":1e+21,"least":-9223372036854775808,"list":[1,2.5,{}],"most":9223372036854775807,"null":null,"text":"1.0","tiny":5e-324}`
	if !strings.Contains(string(raw), want) {
		t.Errorf("what is sent is %s", raw)
	}
}

func TestADryRunWritesNothing(t *testing.T) {
	_, oldA := content(t, oldContent)
	r := newRolling(t, oldA).masking("a")
	r.dryRun = dryRunClient
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u, _ := r.written(t); u != nil || !strings.Contains(r.out.String(), "would ask for "+oldA+" (dry run: nothing was written)") {
		t.Errorf("written: %v\n%s", u, r.out)
	}
	r = newRolling(t, oldA).masking("a")
	r.dryRun = dryRunServer
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, action := r.written(t); !slices.Equal(action.UpdateOptions.DryRun, []string{"All"}) || !strings.Contains(r.out.String(), "the plane takes it, and nothing was written") {
		t.Errorf("asked with %v\n%s", action.UpdateOptions, r.out)
	}
}

func TestARollbackToWhatIsAskedForWritesNothing(t *testing.T) {
	_, newA := content(t, newContent)
	r := newRolling(t, newA).masking("a")
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u, _ := r.written(t); u != nil || !strings.Contains(r.out.String(), "asks already for "+newA) || !strings.Contains(r.out.String(), "has it already") {
		t.Errorf("written: %v\n%s", u, r.out)
	}
}

func TestWhatSomebodyWroteInTheMeantimeIsNotLost(t *testing.T) {
	_, oldA := content(t, oldContent)
	topologyForm := federatedDeployments.GroupResource().WithVersion("v2beta1")
	for name, tt := range map[string]struct {
		edit func(u *unstructured.Unstructured)
		want string // the error
	}{
		"the plane wrote a status": {func(u *unstructured.Unstructured) {
			u.Object["status"].(map[string]any)["observedGeneration"] = int64(4)
		}, ""},
		"somebody labelled it": {func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"app": "web"}) }, ""},
		"somebody edited it": {func(u *unstructured.Unstructured) {
			u.SetGeneration(5)
			u.Object["spec"].(map[string]any)["placementMask"] = map[string]any{}
		}, "somebody changed FederatedDeployment acme-prod/web in the meantime (generation 4 became 5), so nothing was written"},
		"it was made anew": {func(u *unstructured.Unstructured) { u.SetUID("uid-new") }, "somebody changed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRolling(t, oldA).masking("a")
			edited := grayRelease(t)[0].(*unstructured.Unstructured)
			tt.edit(edited)
			edited.SetResourceVersion("78")
			r.fake.PrependReactor("update", "federateddeployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
				if a.(clienttesting.UpdateAction).GetObject().(*unstructured.Unstructured).GetResourceVersion() == "78" {
					return false, nil, nil
				}
				if err := r.fake.Tracker().Update(topologyForm, edited, "acme-prod"); err != nil {
					t.Error(err)
				}
				return true, nil, apierrors.NewConflict(topologyForm.GroupResource(), "web", errors.New("the object has been modified"))
			})
			err := r.run(t.Context())
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || r.out.Len() > 0 || len(writes(r.fake)) != 1 {
					t.Errorf("got %v after %v\n%s", err, writes(r.fake), r.out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u := read(t, r.plane, topologyForm, "acme-prod", "web")
			if image, _, _ := unstructured.NestedString(u.Object, "spec", "template", "spec", "image"); image != "web:1" || !cmp.Equal(u.GetLabels(), edited.GetLabels()) {
				t.Errorf("written was %v", u.Object)
			}
		})
	}
	t.Run("it changes without end", func(t *testing.T) {
		r := newRolling(t, oldA).masking("a")
		r.fake.PrependReactor("update", "federateddeployments", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewConflict(topologyForm.GroupResource(), "web", errors.New("the object has been modified"))
		})
		if err := r.run(t.Context()); !apierrors.IsConflict(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRollbackRefusesWhatItCannotDo(t *testing.T) {
	_, oldA := content(t, oldContent)
	_, newB := content(t, newContentOfB)
	edited := func(edit func(u *unstructured.Unstructured)) []runtime.Object {
		all := grayRelease(t)
		edit(all[0].(*unstructured.Unstructured))
		return all
	}
	now := metav1.NewTime(noon)
	for name, tt := range map[string]struct {
		to   string
		mask []string
		objs []runtime.Object
		want string
	}{
		"a revision that there is not": {"0123456789", []string{"a"}, nil, "has no revision 0123456789. It has, newest first: "},
		"a revision of a former life":  {newB, []string{"a"}, nil, "is of a former FederatedDeployment acme-prod/web"},
		"a unit that is none of it":    {oldA, []string{"a", "rz99"}, nil, "--mask: rz99: not in the placement of FederatedDeployment acme-prod/web"},
		"another namespace's unit":     {oldA, []string{"a.other.cell"}, nil, "a.other.cell is no name of a unit of type cell in namespace acme-prod"},
		"an object that is deleted": {oldA, []string{"a"}, edited(func(u *unstructured.Unstructured) {
			u.SetDeletionTimestamp(&now)
			u.SetFinalizers([]string{"x"})
		}), "is being deleted"},
		"an object that cannot be read": {oldA, []string{"a"}, edited(func(u *unstructured.Unstructured) {
			u.Object["spec"].(map[string]any)["placement"] = "everywhere"
		}), "cannot be read, so nobody can say what comes of it: mend it first: spec.placement: is string"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRolling(t, tt.to, tt.objs...).masking(tt.mask...)
			if err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if u, _ := r.written(t); u != nil {
				t.Errorf("written was %v", u)
			}
		})
	}
	t.Run("a selector of nobody", func(t *testing.T) {
		r := newRolling(t, oldA)
		r.maskSelector, r.selected = "city=atlantis", true
		if err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), "selects no unit") {
			t.Errorf("got %v", err)
		}
	})
	for name, o := range map[string]rollbackOptions{
		"no revision":        {dryRun: dryRunNone},
		"an empty mask":      {to: "x", masked: true, mask: []string{""}, dryRun: dryRunNone},
		"an empty selector":  {to: "x", selected: true, dryRun: dryRunNone},
		"mask and selector":  {to: "x", masked: true, mask: []string{"a"}, selected: true, maskSelector: "b", dryRun: dryRunNone},
		"an unknown dry run": {to: "x", dryRun: "yes"},
	} {
		var usage usageError
		if err := o.validate(); !errors.As(err, &usage) {
			t.Errorf("%s is met with %v", name, err)
		}
	}
}

// What a rollback leaves alone, it leaves alone entirely; what it sets is exact. Whatever the overrides and the mask are.
func TestRandomRollbacksAreExactAndTouchNothingElse(t *testing.T) {
	const seed = 20261121
	random := rand.New(rand.NewPCG(seed, seed))
	all := []string{"a", "b", "c", "d", "e"}
	ops := func() []any {
		var out []any
		for range random.IntN(3) {
			out = append(out, map[string]any{"path": "/spec/x", "value": int64(random.IntN(3))})
		}
		return out
	}
	template := func() map[string]any { return map[string]any{"v": int64(random.IntN(3))} }
	for i := range 1000 {
		var entries []any
		before := map[string]any{}
		for _, at := range random.Perm(len(all))[:random.IntN(len(all)+1)] {
			entry := map[string]any{"clusterName": all[at] + ".acme-prod.cell", "clusterOverrides": any(ops())}
			if random.IntN(4) == 0 { // said in the other form's words
				entry = map[string]any{"topologyName": all[at], "clusterOverrides": entry["clusterOverrides"]}
			}
			entries = append(entries, entry)
			before[all[at]+".acme-prod.cell"] = runtime.DeepCopyJSONValue(entry)
		}
		u := object(t, `{apiVersion: types.kubefed.io/v1beta1, kind: FederatedDeployment, metadata: {name: web, namespace: acme-prod, uid: u},
			spec: {topologyType: cell, retainReplicas: true, placement: {clusters: [{name: a.acme-prod.cell}, {name: b.acme-prod.cell}, {topologyName: c}]}},
			status: {clusters: [{name: d.acme-prod.cell, inventory: true}, {name: e.acme-prod.cell, revision: r}]}}`)
		spec := u.Object["spec"].(map[string]any)
		spec["template"], spec["overrides"] = template(), entries
		stored := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(topology.ToTopologyForm(u.Object))}
		untouched := stored.DeepCopy()
		c := &federated.Content{Template: template(), Overrides: ops()}
		to, err := c.Revision()
		if err != nil {
			t.Fatal(err)
		}
		tg := &target{stored: stored, object: readTopologyForm(stored)}
		masked := all[:1+random.IntN(len(all))]
		mask, err := tg.maskOf(masked)
		if err != nil {
			t.Fatal(err)
		}
		made, err := rollbackTo{target: tg, revision: to, content: c, mask: mask}.plan()
		if err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, i, err)
		}
		if diff := cmp.Diff(untouched, stored); diff != "" {
			t.Fatalf("seed %d, round %d: what was read was changed:\n%s", seed, i, diff)
		}
		after := topology.ToClusterForm(made.object.Object)["spec"].(map[string]any)
		o := readTopologyForm(made.object)
		for _, unit := range all {
			full := unit + ".acme-prod.cell"
			if slices.Contains(masked, unit) {
				if got, err := o.ContentFor(full).Revision(); err != nil || got != to {
					t.Fatalf("seed %d, round %d: %s is asked for %s, want %s", seed, i, unit, got, to)
				}
				continue
			}
			var now any
			for _, e := range listOf(after, "overrides") {
				if (rollbackTo{target: tg}).overridden(e) == full {
					now = e
				}
			}
			if diff := cmp.Diff(before[full], now); diff != "" && (before[full] != nil || now != nil) {
				t.Fatalf("seed %d, round %d: %s is outside the mask and its entry changed:\n%s", seed, i, unit, diff)
			}
		}
		if diff := cmp.Diff(spec["placement"], after["placement"]); diff != "" || after["retainReplicas"] != true {
			t.Fatalf("seed %d, round %d: the rest of the spec changed:\n%s", seed, i, diff)
		}
	}
}
