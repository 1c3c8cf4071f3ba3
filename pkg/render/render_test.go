package render

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
)

var owner = federated.Owner{Plane: "p", UID: "u", Unit: "rz00a.acme.cell", Revision: "r1"}

func input(template map[string]any, overrides ...any) Input {
	return Input{
		Target: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Name:   "web", Namespace: "acme-a", Owner: owner,
		Content: federated.Content{Template: template, Overrides: overrides},
	}
}

func desired(t *testing.T, in Input) *unstructured.Unstructured {
	t.Helper()
	u, err := Desired(in)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTheTemplateBringsNoIdentityOfItsOwn(t *testing.T) {
	u := desired(t, input(map[string]any{
		"metadata": map[string]any{
			"name": "other", "namespace": "kube-system", "uid": "x", "resourceVersion": "7", "generateName": "g-",
			"finalizers": []any{"f"}, "annotations": map[string]any{"a": "b"}, "ownerReferences": []any{},
			"labels": map[string]any{"app": "web", wellknown.ManagedLabel: "false"},
		},
		"kind": "Secret", "spec": map[string]any{"replicas": int64(1)}, "status": map[string]any{"replicas": int64(1)},
	}))
	want := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{
			"name": "web", "namespace": "acme-a",
			"labels":      map[string]any{"app": "web", wellknown.ManagedLabel: "true"},
			"annotations": map[string]any{wellknown.OwnerAnnotation: owner.String()},
		},
		"spec": map[string]any{"replicas": int64(1)},
	}
	if diff := cmp.Diff(want, u.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheInputIsNeverChanged(t *testing.T) {
	template := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "web"}}, "spec": map[string]any{"replicas": int64(1)}}
	before := (&unstructured.Unstructured{Object: template}).DeepCopy().Object
	desired(t, input(template, map[string]any{"path": "/spec/replicas", "value": int64(5)}))
	if diff := cmp.Diff(before, template); diff != "" {
		t.Errorf("the template changed (-before +after):\n%s", diff)
	}
}

func TestWhatTheMemberOwnsStays(t *testing.T) {
	in := input(map[string]any{"spec": map[string]any{"replicas": int64(1)}})
	in.RetainReplicas = true
	in.Observed = &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"resourceVersion": "42", "finalizers": []any{"member/own"},
			"annotations": map[string]any{"member/own": "x"}, "labels": map[string]any{"member": "only"}},
		"spec": map[string]any{"replicas": int64(9)},
	}}
	u := desired(t, in)
	if got := u.GetResourceVersion(); got != "42" {
		t.Errorf("resourceVersion is %q, want the observed one: a write over unseen changes must conflict", got)
	}
	if diff := cmp.Diff([]string{"member/own"}, u.GetFinalizers()); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	if u.GetAnnotations()["member/own"] != "x" {
		t.Errorf("the member's annotation is gone: %v", u.GetAnnotations())
	}
	if _, kept := u.GetLabels()["member"]; kept {
		t.Errorf("a label that only the member has was kept; KubeFed's rule is that labels are the template's")
	}
	if replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); replicas != 9 {
		t.Errorf("replicas are %d, want the member's 9", replicas)
	}
}

// A custom kind may have no status subresource: its status is written, and lost, like any other field.
func TestTheMembersStatusIsKeptWhateverTheTemplateSays(t *testing.T) {
	in := input(map[string]any{"spec": map[string]any{"size": int64(2)}, "status": map[string]any{"phase": "Invented"}})
	for _, status := range []any{map[string]any{"phase": "Ready"}, "ready", []any{int64(1)}} {
		in.Observed = &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": int64(1)}, "status": status}}
		if diff := cmp.Diff(status, desired(t, in).Object["status"]); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	}
	in.Observed = &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": int64(1)}}}
	if status, there := desired(t, in).Object["status"]; there {
		t.Errorf("a status was made up: %v", status)
	}
	in.Content.Overrides = []any{map[string]any{"op": "add", "path": "/status", "value": "forged"}}
	in.Observed.Object["status"] = "ready"
	if status := desired(t, in).Object["status"]; status != "ready" {
		t.Errorf("an override made the status %v", status)
	}
}

func TestOverridesThatReachForTheIdentityAreRefused(t *testing.T) {
	for name, op := range map[string]map[string]any{
		"the whole metadata":  {"op": "replace", "path": "/metadata", "value": map[string]any{"name": "other"}},
		"the owner reference": {"op": "add", "path": "/metadata/ownerReferences", "value": []any{map[string]any{"uid": "x"}}},
		"the finalizers":      {"op": "add", "path": "/metadata/finalizers", "value": []any{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Desired(input(map[string]any{"spec": map[string]any{}}, op))
			if !errors.Is(err, ErrOverrides) {
				t.Errorf("got %v, want an error of the overrides", err)
			}
		})
	}
}

func TestALabelThatIsNoStringIsAnErrorAndNotALostLabel(t *testing.T) {
	if _, err := Desired(input(map[string]any{"metadata": map[string]any{"labels": map[string]any{"x": true}}})); err == nil {
		t.Error("no error")
	}
}

func TestVersionIsBlindToWhatIsTheMembersAndSeesTheRest(t *testing.T) {
	base := func() *unstructured.Unstructured {
		return desired(t, input(map[string]any{"spec": map[string]any{"replicas": int64(1)}}))
	}
	version := func(u *unstructured.Unstructured) string {
		v, err := Lens{}.Version(u)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	want := version(base())
	for name, tc := range map[string]struct {
		change func(*unstructured.Unstructured)
		same   bool
	}{
		"status":      {func(u *unstructured.Unstructured) { u.Object["status"] = map[string]any{"replicas": int64(1)} }, true},
		"bookkeeping": {func(u *unstructured.Unstructured) { u.SetResourceVersion("9"); u.SetGeneration(3); u.SetUID("x") }, true},
		"a foreign annotation": {func(u *unstructured.Unstructured) {
			a := u.GetAnnotations()
			a["x"] = "y"
			u.SetAnnotations(a)
		}, true},
		"a field":        {func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)["replicas"] = int64(2) }, false},
		"an added field": {func(u *unstructured.Unstructured) { u.Object["data"] = map[string]any{"x": "y"} }, false},
		"a label":        {func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"a": "b"}) }, false},
		"the owner mark": {func(u *unstructured.Unstructured) { u.SetAnnotations(nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := base()
			tc.change(u)
			if got := version(u) == want; got != tc.same {
				t.Errorf("same = %v, want %v", got, tc.same)
			}
		})
	}
}

func TestOverridesOfAnnotationsWorkAtTheFirstWriteAndAtTheNext(t *testing.T) {
	in := input(map[string]any{}, map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]any{"a": "b"}})
	first := desired(t, in)
	in.Observed = first
	second := desired(t, in)
	for when, u := range map[string]*unstructured.Unstructured{"first": first, "second": second} {
		if diff := cmp.Diff(map[string]string{"a": "b", wellknown.OwnerAnnotation: owner.String()}, u.GetAnnotations()); diff != "" {
			t.Errorf("%s write (-want +got):\n%s", when, diff)
		}
	}
}
