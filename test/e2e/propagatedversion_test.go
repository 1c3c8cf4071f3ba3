package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	propagatedVersions        = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1alpha1", Resource: "propagatedversions"}
	clusterPropagatedVersions = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1alpha1", Resource: "clusterpropagatedversions"}
)

func md5Of(t *testing.T, content any) string {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum(append(raw, '\n'))
	return hex.EncodeToString(sum[:])
}

// noted waits for a version object's status.
func (w *tenant) noted(gvr schema.GroupVersionResource, namespace, name string, want map[string]any) {
	w.Helper()
	w.eventually(func() error {
		u, err := world.client.Resource(gvr).Namespace(namespace).Get(w.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(u.GetOwnerReferences()) != 1 {
			return fmt.Errorf("owners are %v", u.GetOwnerReferences())
		}
		status, _, _ := unstructured.NestedMap(u.Object, "status")
		if diff := cmp.Diff(want, status); diff != "" {
			return fmt.Errorf("%s (-want +got):\n%s", name, diff)
		}
		return nil
	})
}

// kubefed 1.4, 3.6 and 3.20: version objects, for tools that read them, where the configuration asks for them.
func TestPropagatedVersionsAreKubeFedsWhereTheirGateIsOn(t *testing.T) {
	w := newTenant(t, "kubefed-versions")
	w.at[east], w.at[west] = [2]string{east, w.ns}, [2]string{west, w.ns}
	w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusters: [{name: west}, {name: east}]}"))
	w.has("web", "east=1", "west=west")
	w.told("web", "True")
	if list, err := world.client.Resource(propagatedVersions).Namespace(w.ns).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Fatalf("with the gate off there are %d, %v", len(list.Items), err)
	}
	w.kubeFedConfig("  featureGates: [{name: PropagatedVersions, configuration: Enabled}]\n")

	stored := func() map[string]any {
		u, err := world.client.Resource(schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatedconfigmaps"}).
			Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return u.Object["spec"].(map[string]any)
	}
	const overrides = `[{"clusterName":"west","clusterOverrides":[{"path":"/data/version","value":"west"},{"op":"add","path":"/data/added","value":"on"},` +
		`{"op":"remove","path":"/data/gone"},{"op":"add","path":"/metadata/annotations","value":{"note":"here"}}]}]`
	want := func() map[string]any {
		rv := func(m string) string { return "rv:" + w.copyIn(m, "web").GetResourceVersion() }
		return map[string]any{
			"templateVersion": md5Of(t, stored()["template"]), "overridesVersion": md5Of(t, map[string]any{"overrides": json.RawMessage(overrides)}),
			"clusterVersions": []any{map[string]any{"clusterName": "east", "version": rv(east)}, map[string]any{"clusterName": "west", "version": rv(west)}},
		}
	}
	w.noted(propagatedVersions, w.ns, "configmap-web", want())
	w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusters: [{name: east}]}"))
	w.has("web", "east=1", "west=")
	w.noted(propagatedVersions, w.ns, "configmap-web", map[string]any{"templateVersion": md5Of(t, stored()["template"]),
		"overridesVersion": md5Of(t, map[string]any{"overrides": json.RawMessage(overrides)}),
		"clusterVersions":  []any{map[string]any{"clusterName": "east", "version": "rv:" + w.copyIn(east, "web").GetResourceVersion()}}})

	f := deploymentsOf(w)
	f.apply(`apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: web, namespace: kubefed-versions}
spec:
  placement: {clusters: [{name: east}]}
  template: {spec: {replicas: 1, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: registry.example.com/web:1}]}}}}
`)
	f.field(east, w.ns, "web", "1", "spec", "replicas")
	deployment, _, _ := unstructured.NestedMap(f.stored("web").Object, "spec", "template")
	w.noted(propagatedVersions, w.ns, "deployment-web", map[string]any{"templateVersion": md5Of(t, deployment), "overridesVersion": "2979b7538b527abe06492021841caf47",
		"clusterVersions": []any{map[string]any{"clusterName": "east", "version": "gen:1"}}})

	// The FederatedNamespace's is namespaced; a cluster-scoped object's is not.
	w.federateNamespaces().apply("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedNamespace\nmetadata: {namespace: kubefed-versions, name: kubefed-versions, annotations: {cellfed.io/adopt: \"true\"}}\nspec: {placement: {clusters: [{name: east}]}}\n")
	w.eventually(func() error {
		u, err := world.client.Resource(propagatedVersions).Namespace(w.ns).Get(t.Context(), "namespace-"+w.ns, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s, _, _ := unstructured.NestedString(u.Object, "status", "templateVersion"); s != "" {
			return fmt.Errorf("without a template its version is %q", s)
		}
		return nil
	})
	define(t, "Comet", "comets", "Cluster", east)
	comets := w.federate("example.com", "v1", "Comet", "comets", false)
	comets.put("halley", `{placement: {topologies: [{name: east}]}, template: {spec: {tail: 2}}}`)
	comets.field(east, "", "halley", "2", "spec", "tail")
	w.noted(clusterPropagatedVersions, "", "comet-halley", map[string]any{"templateVersion": md5Of(t, map[string]any{"spec": map[string]any{"tail": 2}}),
		"overridesVersion": "2979b7538b527abe06492021841caf47", "clusterVersions": []any{map[string]any{"clusterName": "east", "version": "gen:1"}}})

	// Nothing is written while nothing changes, and what is noted goes with its object.
	u, err := world.client.Resource(propagatedVersions).Namespace(w.ns).Get(t.Context(), "configmap-web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	again, err := world.client.Resource(propagatedVersions).Namespace(w.ns).Get(t.Context(), "configmap-web", metav1.GetOptions{})
	if err != nil || again.GetResourceVersion() != u.GetResourceVersion() {
		t.Errorf("it is written again and again: %v", err)
	}
	comets.delete("halley")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.eventually(func() error {
		if _, err := world.client.Resource(propagatedVersions).Namespace(w.ns).Get(t.Context(), "configmap-web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the object is gone and what was noted of it is not: %v", err)
		}
		return nil
	})
}
