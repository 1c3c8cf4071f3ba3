package render

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/override/overridetest"
)

// mustBeItself renders what the dice give, and holds the object against what the plane meant.
func mustBeItself(t testing.TB, bytes []byte) {
	d := overridetest.New(bytes)
	in := input(d.Template(), d.Overrides()...)
	switch d.Value(9).(type) {
	case nil, bool: // over what the member has
		in.Observed = &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": in.Name, "namespace": in.Namespace, "uid": "u-1", "resourceVersion": "42",
				"creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": []any{"member/own"},
				"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Theirs", "name": "x", "uid": "u-2"}},
				"labels":          map[string]any{wellknown.ManagedLabel: "true"}, "annotations": map[string]any{"member/own": "x"}},
			"status": map[string]any{"replicas": int64(1)}}}
	case string: // cluster-scoped
		in.Namespace = ""
	}
	template := runtime.DeepCopyJSON(in.Content.Template)
	u, err := Desired(in)
	if !reflect.DeepEqual(template, in.Content.Template) {
		t.Fatal("the template was changed")
	}
	if err != nil {
		return
	}
	raw, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatalf("it cannot be sent: %v", err)
	}
	// Only these may differ from what the plane meant: everything else under metadata is asked for by name below.
	metadata := u.Object["metadata"].(map[string]any)
	wantVersion, wantFinalizers, wantOwners := "", 0, 0
	if in.Observed != nil {
		wantVersion, wantFinalizers, wantOwners = "42", 1, 1
	}
	owner, marked := OwnerOf(u)
	switch {
	case u.GetKind() != "Deployment" || u.GetAPIVersion() == "",
		u.GetName() != in.Name || u.GetNamespace() != in.Namespace || u.GetGenerateName() != "",
		u.GetUID() != "" || u.GetResourceVersion() != wantVersion || u.GetManagedFields() != nil,
		u.GetDeletionTimestamp() != nil || u.GetDeletionGracePeriodSeconds() != nil || metadata["deletionTimestamp"] != nil,
		len(u.GetFinalizers()) != wantFinalizers || len(u.GetOwnerReferences()) != wantOwners,
		u.GetLabels()[wellknown.ManagedLabel] != wellknown.ManagedTrue,
		!marked || owner != in.Owner:
		content, _ := json.Marshal(in.Content.Overrides)
		t.Fatalf("%s\ngave %s", content, raw)
	}
}

// FuzzIdentity holds that nothing that a user may write makes the plane write another object than it means.
func FuzzIdentity(f *testing.F) {
	for _, seed := range [][]byte{nil, {0}, {1, 1, 0, 5, 1, 4, 3}, []byte("metadata"), {0, 0, 1, 0, 1, 8, 2, 6, 9, 8, 7}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) { mustBeItself(t, bytes) })
}

func TestNoTemplateOfAThrowOfDiceBecomesAnotherObject(t *testing.T) {
	const throws = 30_000
	random := rand.New(rand.NewPCG(2026, 12)) //nolint:gosec // the same throws each time
	for range throws {
		bytes := make([]byte, 16+random.IntN(80))
		for i := range bytes {
			bytes[i] = byte(random.IntN(256))
		}
		mustBeItself(t, bytes)
	}
}
