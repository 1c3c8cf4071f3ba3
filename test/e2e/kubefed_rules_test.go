package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var replicaSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}

// kubeFedConfig puts a KubeFedConfig in force, as KubeFed's chart writes it, and takes it away when the test ends.
func (w *tenant) kubeFedConfig(more string) {
	w.Helper()
	w.apply(`apiVersion: core.kubefed.io/v1beta1
kind: KubeFedConfig
metadata: {name: kubefed, namespace: kube-federation-system}
spec:
  scope: Cluster
` + more)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := kubectl(ctx, "", "delete", "kubefedconfig/kubefed", "-n", "kube-federation-system", "--ignore-not-found"); err != nil {
			w.Errorf("%v\n%s", err, out)
		}
	})
	w.kubectl("wait", "--for=condition=Accepted", "kubefedconfig/kubefed", "-n", "kube-federation-system", "--timeout=20s")
}

// eventReasons are the reasons of all events about an object.
func (w *tenant) eventReasons(kind, name string) []string {
	w.Helper()
	list, err := world.client.Resource(schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}).Namespace(w.ns).
		List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var reasons []string
	for i := range list.Items {
		regarding, _, _ := unstructured.NestedMap(list.Items[i].Object, "regarding")
		if regarding["kind"] == kind && regarding["name"] == name {
			reason, _, _ := unstructured.NestedString(list.Items[i].Object, "reason")
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// As KubeFed's user guide has its users write it: everything of an application, federated from a namespace down.
const kubeFedSample = `apiVersion: v1
kind: Namespace
metadata: {name: kubefed-sample}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedNamespace
metadata: {name: kubefed-sample, namespace: kubefed-sample}
spec:
  placement:
    clusters:
    - name: east
    - name: west
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedServiceAccount
metadata: {name: web, namespace: kubefed-sample}
spec:
  template:
    automountServiceAccountToken: false
  placement:
    clusterSelector: {}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: web, namespace: kubefed-sample}
spec:
  template:
    data: {greeting: hello}
  placement:
    clusterSelector:
      matchLabels: {}
  overrides:
  - clusterName: west
    clusterOverrides:
    - path: /data/greeting
      value: moin
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedService
metadata: {name: web, namespace: kubefed-sample}
spec:
  template:
    spec:
      selector: {app: web}
      type: NodePort
      ports:
      - {name: http, port: 80}
  placement:
    clusters:
    - name: east
    - name: west
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedDeployment
metadata: {name: web, namespace: kubefed-sample}
spec:
  template:
    metadata:
      labels: {app: web}
    spec:
      replicas: 3
      selector:
        matchLabels: {app: web}
      template:
        metadata:
          labels: {app: web}
        spec:
          containers:
          - {name: web, image: registry.example.com/web:1}
  placement:
    clusters:
    - name: east
    - name: west
  overrides:
  - clusterName: west
    clusterOverrides:
    - path: /spec/replicas
      value: 5
    - path: /spec/template/spec/containers/0/image
      value: registry.example.com/web:2
    - path: /metadata/annotations
      op: add
      value: {note: west}
`

// kubefed 1.7: manifests of KubeFed's users apply unchanged, and mean what they meant.
func TestAKubeFedApplicationAppliesUnchanged(t *testing.T) {
	w := newTenant(t, "kubefed-sample")
	w.federateNamespaces()
	services := w.federate("", "v1", "Service", "services", true)
	accounts := w.federate("", "v1", "ServiceAccount", "serviceaccounts", true)
	web := deploymentsOf(w)
	w.apply(kubeFedSample)
	for _, m := range []string{east, west} {
		w.at[m] = [2]string{m, w.ns}
		web.field(m, w.ns, "web", map[string]string{east: "3", west: "5"}[m], "spec", "replicas")
		services.field(m, w.ns, "web", "web", "spec", "selector", "app")
		accounts.field(m, w.ns, "web", "false", "automountServiceAccountToken")
		w.eventually(func() error {
			if u := w.copyIn(m, "web"); u == nil {
				return fmt.Errorf("no ConfigMap in %s", m)
			}
			return nil
		})
	}
	web.field(west, w.ns, "web", "west", "metadata", "annotations", "note")
	if data, _, _ := unstructured.NestedStringMap(w.copyIn(west, "web").Object, "data"); data["greeting"] != "moin" {
		t.Errorf("the override did not reach west: %v", data)
	}
	for _, r := range requests(t, tower) { // not even for a moment
		if r.isWrite() && (r.ObjectRef.Namespace == w.ns || r.ObjectRef.Name == w.ns) {
			t.Errorf("the namespace does not admit tower, which was asked to %s %s", r.Verb, r.RequestURI)
		}
	}
	if u := w.space(tower, w.ns); u != nil {
		t.Error("the namespace does not admit tower, and is there")
	}
	// kubefed 3.5: what a member gave a Service stays with it.
	ip := func() string {
		s, _, _ := unstructured.NestedString(services.inside(east, w.ns, "web").Object, "spec", "clusterIP")
		return s
	}
	before := ip()
	w.apply(strings.Replace(kubeFedSample, "{name: http, port: 80}", "{name: http, port: 81}", 1))
	w.eventually(func() error {
		ports, _, _ := unstructured.NestedSlice(services.inside(east, w.ns, "web").Object, "spec", "ports")
		if port := ports[0].(map[string]any)["port"]; port != int64(81) {
			return fmt.Errorf("port is %v", port)
		}
		return nil
	})
	if after := ip(); after != before || before == "" {
		t.Errorf("clusterIP %q → %q", before, after)
	}
	for _, kind := range []string{"namespace", "serviceaccount", "configmap", "service", "deployment"} {
		name := map[string]string{"namespace": w.ns}[kind]
		if name == "" {
			name = "web"
		}
		w.kubectl("wait", "--for=condition=Propagation", "federated"+kind+"/"+name, "-n", w.ns, "--timeout=20s")
	}
	if again := w.apply(kubeFedSample); strings.Contains(again, "created") {
		t.Errorf("applying it again made something new: %s", again)
	}
	// kubefed 2: the reasons of events are those that scripts wait for.
	w.eventually(func() error {
		if reasons := w.eventReasons("FederatedService", "web"); !slices.Contains(reasons, "CreateInCluster") || !slices.Contains(reasons, "UpdateInCluster") {
			return fmt.Errorf("events are %v", reasons)
		}
		return nil
	})
	w.kubectl("delete", "namespace", w.ns, "--timeout=60s")
	w.spaces("!east/kubefed-sample", "!west/kubefed-sample")
}

// kubefed 3.2 and 3.18: names win over selectors, an empty list selects nothing, an empty selector everything, and an
// empty placement nothing without anything being wrong.
func TestPlacementsSelectAsInKubeFed(t *testing.T) {
	w := newTenant(t, "kubefed-placement")
	for _, m := range []string{east, west, tower} {
		w.at[m] = [2]string{m, w.ns}
	}
	const all, none = "east=1 west=west tower=1", "east= west= tower="
	for _, c := range []struct{ placement, want string }{
		{"{}", none},
		{"{clusterSelector: {}}", all},
		{"{clusters: [], clusterSelector: {}}", none},
		{"{clusters: [{name: tower}], clusterSelector: {}}", "east= west= tower=1"},
		{"{clusterSelector: {matchLabels: {}}}", all},
		{"{clusterSelector: {matchExpressions: [{key: no-such, operator: Exists}]}}", none},
		{"{clusters: [{name: nowhere}, {name: west}]}", "east= west=west tower="},
		{"{}", none},
	} {
		if out, err := kubectl(t.Context(), fmt.Sprintf(kubeFedManifest, w.ns, c.placement), "replace", "--force=false", "-f", "-"); err != nil {
			if !strings.Contains(out, "NotFound") {
				t.Fatal(out)
			}
			w.apply(fmt.Sprintf(kubeFedManifest, w.ns, c.placement))
		}
		w.has("web", strings.Fields(c.want)...)
		if !strings.Contains(c.placement, "nowhere") { // a name that nobody has is told, where KubeFed ignores it
			w.told("web", "True")
		}
	}
}

// kubefed 3.9 and 3.17: what takes KubeFed ten seconds each time.
func TestRepairAndDeletionTakeNoTenSeconds(t *testing.T) {
	w := newTenant(t, "kubefed-quick", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	w.within(3*time.Second, "repair", func() {
		w.editCopy("a", "web", `{"data":{"version":"edited"}}`)
		w.has("web", "a=1")
	})
	w.within(3*time.Second, "deletion", func() { w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s") })
	if u := w.copyIn("a", "web"); u != nil {
		t.Error("the copy is still there")
	}
}

// kubefed 3.1 and 3.9: the options count when the federated object is deleted, and only then.
func TestCopiesAreDeletedWithTheOptionsThatTheObjectAsksFor(t *testing.T) {
	w := newTenant(t, "kubefed-options", "a "+east, "b "+west)
	f := deploymentsOf(w)
	const spec = `{topologyType: cell, placement: {topologies: [%s]}, template: {spec: {replicas: 1, selector: {matchLabels: {app: web}},
		template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: registry.example.com/web:1}]}}}}}`
	f.put("web", fmt.Sprintf(spec, "{name: a}, {name: b}"))
	sets := func(member string) int {
		list, err := world.inside[member].Resource(replicaSets).Namespace(w.ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	for _, m := range []string{east, west} {
		w.eventually(func() error {
			if n := sets(m); n != 1 {
				return fmt.Errorf("%d ReplicaSets in %s", n, m)
			}
			return nil
		})
	}
	out, err := kubectl(t.Context(), "", "annotate", "federateddeployment/web", "-n", w.ns, `kubefed.io/deleteoption={"propagationPolicy":"Leave"}`)
	if err == nil || !strings.Contains(out, "must be Orphan, Background or Foreground") {
		t.Errorf("options that cannot be read are taken: %s", out)
	}
	w.kubectl("annotate", "federateddeployment/web", "-n", w.ns, `kubefed.io/deleteoption={"propagationPolicy":"Orphan"}`)
	f.put("web", fmt.Sprintf(spec, "{name: a}")) // left the placement: deleted with no options, and its ReplicaSet with it
	w.eventually(func() error {
		if n := sets(west); n != 0 || f.inside(west, w.ns, "web") != nil {
			return fmt.Errorf("%d ReplicaSets in west", n)
		}
		return nil
	})
	f.delete("web")
	if u := f.inside(east, w.ns, "web"); u != nil {
		t.Error("the Deployment is still there")
	}
	time.Sleep(2 * time.Second) // what has to go on being there cannot be awaited
	if n := sets(east); n != 1 {
		t.Errorf("%d ReplicaSets in east, want the one that was to be orphaned", n)
	}
}

// kubefed 3.7: adoption for everything, where the configuration asks for it.
func TestWhatIsThereAlreadyIsAdoptedWhereTheConfigurationAsksForIt(t *testing.T) {
	w := newTenant(t, "kubefed-adopt", "a "+east)
	exists := func(name string, labels map[string]any) {
		t.Helper()
		ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": w.ns}}}
		if _, err := world.inside[east].Resource(namespaces).Create(t.Context(), ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": name, "labels": labels}, "data": map[string]any{"version": "theirs"}}}
		if _, err := world.inside[east].Resource(configMaps).Namespace(w.ns).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	exists("plain", map[string]any{"theirs": "x"})
	exists("unmanaged", map[string]any{"kubefed.io/managed": "false"})
	for _, name := range []string{"plain", "unmanaged"} {
		w.apply(w.config(name, "1", placed("a")))
		w.told(name, "False")
	}
	if e := w.entry("plain", "a"); e["status"] != "AlreadyExists" {
		t.Errorf("status is %v", e)
	}
	w.kubeFedConfig("  syncController: {adoptResources: Enabled}\n")
	w.has("plain", "a=1")
	if l := w.copyIn("a", "plain").GetLabels(); l["theirs"] != "" {
		t.Errorf("labels are the template's: %v", l)
	}
	w.keeps("unmanaged", time.Second, "a=theirs")
	if e := w.entry("unmanaged", "a"); e["status"] != "ManagedLabelFalse" {
		t.Errorf("status is %v", e)
	}
}

// kubefed 3.2: the strict rule, by configuration, and without its deletions.
func TestWithoutAFederatedNamespaceNothingIsPlacedAnewWhereTheConfigurationSaysSo(t *testing.T) {
	w := newTenant(t, "kubefed-strict", "a "+east, "b "+west)
	f := w.federateNamespaces()
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	w.kubeFedConfig("  namespacePlacement: Strict\n")
	w.apply(w.config("web", "2", placed("a", "b")))
	w.has("web", "a=2", "b=")
	w.eventually(func() error {
		if e := w.entry("web", "b"); e["status"] != "NamespaceNotFederated" {
			return fmt.Errorf("status of b is %v", e)
		}
		return nil
	})
	w.keeps("web", time.Second, "a=2", "b=")
	f.put(w.ns, `{topologyType: cell, placement: {topologySelector: {}}}`)
	w.has("web", "a=2", "b=2")
	w.told("web", "True")
}

// kubefed 3.3: one label value that is no string loses no other label; it is told instead.
func TestALabelThatIsNoStringIsToldAndLosesNoOther(t *testing.T) {
	w := newTenant(t, "kubefed-labels", "a "+east)
	manifest := func(value string) string {
		return "apiVersion: types.kubefed.io/v2beta1\nkind: FederatedConfigMap\nmetadata: {namespace: kubefed-labels, name: web}\nspec: {topologyType: cell, placement: {topologies: [{name: a}]}, template: {metadata: {labels: {app: web, x: " + value + "}}, data: {version: \"1\"}}}\n"
	}
	w.apply(manifest("v"))
	w.has("web", "a=1")
	if out, err := kubectl(t.Context(), manifest("y"), "apply" /* true, as kubectl reads it */, "-f", "-"); err != nil {
		return // refused where it is written: better still
	} else if strings.Contains(out, "unchanged") {
		t.Fatal(out)
	}
	w.told("web", "False")
	if e := w.entry("web", "a"); e["status"] != "ComputeResourceFailed" || !strings.Contains(fmt.Sprint(e["message"]), "labels[x]") {
		t.Errorf("status is %v", e)
	}
	if l := w.copyIn("a", "web").GetLabels(); l["app"] != "web" {
		t.Errorf("labels were lost: %v", l)
	}
}
