package conversion

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
	"github.com/cellfed/cellfed/test/conversion/objects"
	"github.com/cellfed/cellfed/test/harness"
)

const group = "conversion.test.cellfed.io"

func resource(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: "federatedconfigmaps"}
}

// plane starts a plane that serves the test's own federated type.
func plane(t *testing.T) dynamic.Interface {
	t.Helper()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	client, err := dynamic.NewForConfig(p.RestConfig())
	if err != nil {
		t.Fatal(err)
	}
	ftc := &corev1beta1.FederatedTypeConfig{ObjectMeta: metav1.ObjectMeta{Name: "configmaps"}}
	ftc.Spec.TargetType = kubefedv1beta1.APIResource{Version: "v1", Kind: "ConfigMap", Scope: "Namespaced"}
	ftc.Spec.FederatedType = kubefedv1beta1.APIResource{Group: group, Version: "v1beta1", Kind: "FederatedConfigMap"}
	definition, err := typeschema.Definition(ftc, typeschema.Options{Conversion: typeschema.InProcess()})
	if err != nil {
		t.Fatal(err)
	}
	definition.Labels = nil // nobody's, or the plane would look after it
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(definition)
	if err != nil {
		t.Fatal(err)
	}
	create(t, client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}), content)
	for _, namespace := range []string{"acme-prod", "acme", "cell", "prod"} {
		create(t, client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}), map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace},
		})
	}
	for _, version := range []string{"v1beta1", "v2beta1"} {
		until(t, "version "+version+" is served", func(ctx context.Context) error {
			_, err := client.Resource(resource(version)).List(ctx, metav1.ListOptions{})
			return err
		})
	}
	return client
}

func create(t *testing.T, where dynamic.ResourceInterface, content map[string]any) *unstructured.Unstructured {
	t.Helper()
	out, err := where.Create(t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating %v: %v", content, err)
	}
	return out
}

func until(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting until %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func TestObjectsGoThroughAPlaneInBothForms(t *testing.T) {
	client := plane(t)
	t.Run("what was said in one form is said in the other, and comes back", func(t *testing.T) { randomObjects(t, client) })
	t.Run("two server-side appliers, one per form, share an object", func(t *testing.T) { twoAppliers(t, client) })
	t.Run("a watch speaks the form that it asked for", func(t *testing.T) { watchOtherForm(t, client) })
}

// body is what of an object conversion is about, as it went over the wire.
func body(t *testing.T, obj map[string]any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(map[string]any{"spec": obj["spec"], "status": obj["status"]})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(encoded, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func randomObjects(t *testing.T, client dynamic.Interface) {
	count := 60
	if s := os.Getenv("CELLFED_OBJECTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("CELLFED_OBJECTS: %v", err)
		}
		count = n
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	data := make([]byte, 160)
	for i := range count {
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		form, other, convert := objects.Cluster, objects.Topology, topology.ToTopologyForm
		if i%2 == 1 {
			form, other, convert = objects.Topology, objects.Cluster, topology.ToClusterForm
		}
		obj := objects.Generate(data, form, objects.Options{Valid: true})
		metadata := obj["metadata"].(map[string]any)
		metadata["name"] = "object-" + strconv.Itoa(i)
		if metadata["namespace"] == nil {
			metadata["namespace"] = "acme"
		}
		obj["apiVersion"] = group + "/" + form.Version
		oneObject(t, client, obj, resource(form.Version), resource(other.Version), convert)
		if t.Failed() {
			t.Fatalf("object %d of seed %d", i, seed)
		}
	}
}

func oneObject(t *testing.T, client dynamic.Interface, obj map[string]any, form, other schema.GroupVersionResource, convert func(map[string]any) map[string]any) {
	t.Helper()
	metadata := obj["metadata"].(map[string]any)
	namespace, name := metadata["namespace"].(string), metadata["name"].(string)
	here, there := client.Resource(form).Namespace(namespace), client.Resource(other).Namespace(namespace)

	created := create(t, here, runtime.DeepCopyJSON(obj))
	if status, has := obj["status"]; has {
		created.Object["status"] = runtime.DeepCopyJSONValue(status)
		if _, err := here.UpdateStatus(t.Context(), created, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("writing the status of %v: %v", obj, err)
		}
	}
	read := get(t, here, name)
	expect(t, "in its own form", body(t, obj), body(t, read.Object))
	foreign := get(t, there, name)
	expect(t, "in the other form", body(t, convert(obj)), body(t, foreign.Object))

	// The other form writes back what it read: nothing may change, not even for the API server's own comparison.
	updated, err := there.Update(t.Context(), foreign.DeepCopy(), metav1.UpdateOptions{})
	if err != nil {
		t.Fatalf("writing %v back in the other form: %v", obj, err)
	}
	if updated.GetResourceVersion() != foreign.GetResourceVersion() || updated.GetGeneration() != read.GetGeneration() {
		t.Errorf("writing back in the other form changed generation %d to %d", read.GetGeneration(), updated.GetGeneration())
	}
	// A status written in the other form changes no spec.
	foreign.Object["status"] = map[string]any{"observedGeneration": int64(99)}
	if _, err := there.UpdateStatus(t.Context(), foreign, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("writing the status of %v in the other form: %v", obj, err)
	}
	after := get(t, here, name)
	want := body(t, obj)
	want["status"] = map[string]any{"observedGeneration": 99.0}
	expect(t, "after a status from the other form", want, body(t, after.Object))
	if after.GetGeneration() != read.GetGeneration() {
		t.Errorf("a status from the other form changed the generation")
	}
}

func get(t *testing.T, where dynamic.ResourceInterface, name string) *unstructured.Unstructured {
	t.Helper()
	obj, err := where.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func expect(t *testing.T, where string, want, got map[string]any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-said +read):\n%s", where, diff)
	}
}

func twoAppliers(t *testing.T, client dynamic.Interface) {
	apply := func(version, manager, content string) error {
		_, err := client.Resource(resource(version)).Namespace("acme").Patch(t.Context(), "shared", types.ApplyPatchType,
			[]byte(`{"apiVersion":"`+group+"/"+version+`","kind":"FederatedConfigMap","metadata":{"name":"shared","namespace":"acme"},"spec":`+content+`}`),
			metav1.PatchOptions{FieldManager: manager})
		return err
	}
	for _, step := range []struct{ version, manager, content string }{
		{"v2beta1", "cells", `{"topologyType":"cell","placement":{"topologies":[{"name":"a"},{"name":"b"}]}}`},
		{"v1beta1", "content", `{"template":{"data":{"k":"v"}}}`},
		{"v2beta1", "cells", `{"topologyType":"cell","placement":{"topologies":[{"name":"b"}]}}`},
		{"v1beta1", "content", `{"template":{"data":{"k":"w"}}}`},
	} {
		if err := apply(step.version, step.manager, step.content); err != nil {
			t.Fatalf("%s applies %s: %v", step.manager, step.content, err)
		}
	}
	want := map[string]any{"spec": map[string]any{
		"topologyType": "cell", "template": map[string]any{"data": map[string]any{"k": "w"}},
		"placement": map[string]any{"clusters": []any{map[string]any{"name": "b.acme.cell"}}},
	}, "status": nil}
	expect(t, "the shared object in cluster form", want, body(t, get(t, client.Resource(resource("v1beta1")).Namespace("acme"), "shared").Object))
	// Whoever wants the other's field has to say so, whatever form they speak.
	err := apply("v1beta1", "content", `{"template":{"data":{"k":"w"}},"placement":{"clusters":[{"name":"c.acme.cell"}]}}`)
	if !apierrors.IsConflict(err) {
		t.Errorf("taking the other's placement in the other form gives %v, want a conflict", err)
	}
}

func watchOtherForm(t *testing.T, client dynamic.Interface) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	list, err := client.Resource(resource("v2beta1")).Namespace("prod").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	events, err := client.Resource(resource("v2beta1")).Namespace("prod").Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	create(t, client.Resource(resource("v1beta1")).Namespace("prod"), map[string]any{
		"apiVersion": group + "/v1beta1", "kind": "FederatedConfigMap", "metadata": map[string]any{"namespace": "prod", "name": "watched"},
		"spec": map[string]any{"topologyType": "cell", "placement": map[string]any{"clusters": []any{map[string]any{"name": "a.prod.cell"}, map[string]any{"name": "elsewhere"}}}},
	})
	event, open := <-events.ResultChan()
	if !open {
		t.Fatal("the watch ended before its event")
	}
	obj, ok := event.Object.(*unstructured.Unstructured)
	if !ok {
		t.Fatalf("the watch brought %T", event.Object)
	}
	want := map[string]any{"spec": map[string]any{
		"topologyType": "cell",
		"placement":    map[string]any{"topologies": []any{map[string]any{"name": "a"}, map[string]any{"clusterName": "elsewhere"}}},
	}, "status": nil}
	expect(t, "the watched object", want, body(t, obj.Object))
}
