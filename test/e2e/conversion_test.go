package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/typeschema"
	"github.com/cellfed/cellfed/test/conversion/objects"
)

// conversionGroup is no group of ours, and its kinds are not called Federated: nobody judges or carries what is in it, but
// its CRDs have the schemas of our types and ask the plane to convert.
const conversionGroup = "conversion.example.com"

// definitionOf makes a CRD as the plane makes those of federated types.
func definitionOf(t *testing.T, kind, plural string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	ftc := &corev1beta1.FederatedTypeConfig{ObjectMeta: metav1.ObjectMeta{Name: plural}}
	ftc.Spec.TargetType = kubefedv1beta1.APIResource{Version: "v1", Kind: "Thing", PluralName: plural, Scope: apiextensionsv1.NamespaceScoped}
	ftc.Spec.FederatedType = kubefedv1beta1.APIResource{Group: conversionGroup, Kind: kind, PluralName: plural}
	crd, err := typeschema.Definition(ftc, typeschema.Options{Conversion: typeschema.InProcess()})
	if err != nil {
		t.Fatal(err)
	}
	crd.Labels, crd.Annotations = nil, nil // nobody keeps it
	return crd
}

func install(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	if _, err := world.client.Resource(definitions).Apply(t.Context(), crd.Name, u, metav1.ApplyOptions{FieldManager: "e2e", Force: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = world.client.Resource(definitions).Delete(context.WithoutCancel(t.Context()), crd.Name, metav1.DeleteOptions{})
	})
}

// random makes an object of the kind from random bytes, in one of the namespaces that names in it may speak of.
func random(r *rand.Rand, crd *apiextensionsv1.CustomResourceDefinition, f objects.Form, name string, valid bool) *unstructured.Unstructured {
	data := make([]byte, 160)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	u := &unstructured.Unstructured{Object: objects.Generate(data, f, objects.Options{Valid: valid})}
	namespace, _, _ := unstructured.NestedString(u.Object, "metadata", "namespace")
	if namespace == "" {
		namespace = "acme"
	}
	u.Object["metadata"] = map[string]any{"name": name, "namespace": namespace}
	u.SetAPIVersion(conversionGroup + "/" + f.Version)
	u.SetKind(crd.Spec.Names.Kind)
	return u
}

func resourceOf(crd *apiextensionsv1.CustomResourceDefinition, f objects.Form) dynamic.NamespaceableResourceInterface {
	return world.client.Resource(schema.GroupVersionResource{Group: conversionGroup, Version: f.Version, Resource: crd.Spec.Names.Plural})
}

// listed waits until a form is listed, and returns the objects by name.
func listed(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, f objects.Form, options metav1.ListOptions) map[string]*unstructured.Unstructured {
	t.Helper()
	out := map[string]*unstructured.Unstructured{}
	(&tenant{T: t}).eventually(func() error {
		list, err := resourceOf(crd, f).List(t.Context(), options)
		if err != nil {
			return fmt.Errorf("listing %s in %s: %w", crd.Spec.Names.Plural, f.Version, err)
		}
		for i := range list.Items {
			out[list.Items[i].GetName()] = &list.Items[i]
		}
		return nil
	})
	return out
}

func conversionNamespaces(t *testing.T) {
	t.Helper()
	for _, ns := range []string{"acme-prod", "acme", "cell", "prod"} {
		if out, code := kubectlExit(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}\n", "apply", "-f", "-"); code != 0 {
			t.Fatal(out)
		}
	}
}

// roundTrip writes an object in one form, reads it in the other, writes it back there as it is, and reads it again.
func roundTrip(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, from, to objects.Form) error {
	here, there := resourceOf(crd, from).Namespace(u.GetNamespace()), resourceOf(crd, to).Namespace(u.GetNamespace())
	before, err := here.Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating: %w", err)
	}
	if status := u.Object["status"]; status != nil {
		before.Object["status"] = status
		if before, err = here.UpdateStatus(ctx, before, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("writing status: %w", err)
		}
	}
	other, err := there.Get(ctx, u.GetName(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading in the other form: %w", err)
	}
	if _, err := there.Update(ctx, other, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing back in the other form: %w", err)
	}
	if _, err := there.UpdateStatus(ctx, other, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing status back in the other form: %w", err)
	}
	after, err := here.Get(ctx, u.GetName(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading again: %w", err)
	}
	if after.GetGeneration() != 1 {
		return fmt.Errorf("what was written back unchanged made generation %d", after.GetGeneration())
	}
	for _, key := range []string{"spec", "status", "apiVersion", "kind"} {
		if diff := cmp.Diff(before.Object[key], after.Object[key]); diff != "" {
			return fmt.Errorf("%s came back changed (-was +is):\n%s", key, diff)
		}
	}
	return nil
}

func TestRandomObjectsComeThroughTheAPIServerUnchangedInBothForms(t *testing.T) {
	const workers, most, least = 8, 3000, 100
	conversionNamespaces(t)
	crd := definitionOf(t, "Random", "randoms")
	install(t, crd)
	listed(t, crd, objects.Cluster, metav1.ListOptions{})
	seed := rand.Uint64()
	var made atomic.Int64
	var running sync.WaitGroup
	end := time.Now().Add(12 * time.Second)
	for w := range workers {
		running.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range most / workers {
				if time.Now().After(end) || t.Failed() {
					return
				}
				from, to := objects.Cluster, objects.Topology
				if i%2 == 1 {
					from, to = to, from
				}
				u := random(r, crd, from, fmt.Sprintf("r-%d-%d", w, i), true)
				if err := roundTrip(t.Context(), crd, u, from, to); err != nil {
					t.Errorf("seed %d, worker %d, object %d in %s: %v\n%v", seed, w, i, from.Version, err, u.Object)
					return
				}
				made.Add(1)
			}
		})
	}
	running.Wait()
	if t.Failed() {
		return
	}
	if made.Load() < least {
		t.Errorf("only %d objects in the time there is", made.Load())
	}
	t.Logf("%d objects", made.Load())
	for _, f := range []objects.Form{objects.Cluster, objects.Topology} {
		for how, options := range map[string]metav1.ListOptions{"from the store": {}, "from the watch cache": {ResourceVersion: "0"}} {
			if got := listed(t, crd, f, options); len(got) != int(made.Load()) {
				t.Errorf("a LIST %s in %s has %d objects of %d", how, f.Version, len(got), made.Load())
			}
		}
	}
}

func TestObjectsThatNoSchemaAllowsBreakNoList(t *testing.T) {
	const count = 300
	conversionNamespaces(t)
	strict := definitionOf(t, "Oddity", "oddities")
	loose := strict.DeepCopy()
	yes := true
	for i := range loose.Spec.Versions {
		loose.Spec.Versions[i].Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &yes}
		loose.Spec.Versions[i].Subresources = nil // so that a creation says status too
	}
	install(t, loose)
	listed(t, loose, objects.Cluster, metav1.ListOptions{})
	r := rand.New(rand.NewPCG(7, 7))
	for i := range count {
		u := random(r, loose, objects.Cluster, fmt.Sprintf("odd-%d", i), false)
		if _, err := resourceOf(loose, objects.Cluster).Namespace(u.GetNamespace()).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatalf("object %d: %v", i, err)
		}
	}
	install(t, strict)
	probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": conversionGroup + "/v1beta1", "kind": strict.Spec.Names.Kind,
		"metadata": map[string]any{"name": "probe", "namespace": "acme"}, "spec": "no spec"}}
	(&tenant{T: t}).eventually(func() error {
		_, err := resourceOf(strict, objects.Cluster).Namespace("acme").Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "spec") {
			return fmt.Errorf("the strict schema is not in force: %w", err)
		}
		return nil
	})
	for _, f := range []objects.Form{objects.Cluster, objects.Topology} {
		for how, options := range map[string]metav1.ListOptions{"from the store": {}, "from the watch cache": {ResourceVersion: "0"}} {
			if got := listed(t, strict, f, options); len(got) != count {
				t.Errorf("a LIST %s in %s has %d objects of %d", how, f.Version, len(got), count)
			}
		}
	}
}
