package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/test/harness"
)

var kubeFedConfigs = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedconfigs"}

// settings puts a KubeFedConfig in force whose spec is as said, and takes it away when the test ends. It returns what
// kubectl printed.
func (w *tenant) settings(spec string) string {
	w.Helper()
	w.Cleanup(w.noSettings)
	out := w.apply("apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedConfig\nmetadata: {name: kubefed, namespace: kube-federation-system}\nspec: " + spec + "\n")
	w.eventually(func() error {
		u, err := world.client.Resource(kubeFedConfigs).Namespace("kube-federation-system").Get(w.Context(), "kubefed", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if seen, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); seen != u.GetGeneration() {
			return fmt.Errorf("KubeFedConfig is at generation %d, the plane has read %d", u.GetGeneration(), seen)
		}
		if c := conditionOf(u, "Accepted"); c["status"] != "True" {
			return fmt.Errorf("condition Accepted is %v", c)
		}
		return nil
	})
	return out
}

func (w *tenant) noSettings() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := kubectl(ctx, "", "delete", "kubefedconfig/kubefed", "-n", "kube-federation-system", "--ignore-not-found"); err != nil {
		w.Errorf("taking the settings away: %v\n%s", err, out)
	}
}

// without puts gates off and nothing else.
func (w *tenant) without(gates ...string) string {
	w.Helper()
	var entries []string
	for _, g := range gates {
		entries = append(entries, "{name: "+g+", configuration: Disabled}")
	}
	return w.settings("{scope: Cluster, featureGates: [" + strings.Join(entries, ", ") + "]}")
}

// onHold waits until an object says that it is held, in words that name these.
func (w *tenant) onHold(u func() *unstructured.Unstructured, words ...string) {
	w.Helper()
	w.eventually(func() error {
		o := u()
		c := conditionOf(o, "Propagation")
		if c["status"] != "False" || c["reason"] != "OnHold" {
			return fmt.Errorf("Propagation of %s is %v, want OnHold", o.GetName(), c)
		}
		for _, word := range words {
			if text, _ := c["message"].(string); !strings.Contains(text, word) {
				return fmt.Errorf("%q does not say %q", text, word)
			}
		}
		return nil
	})
}

func (w *tenant) config0(name string) func() *unstructured.Unstructured {
	return func() *unstructured.Unstructured { return w.get(name) }
}

// writesTo counts the plane's writes to one namespace of a member.
func (w *tenant) writesTo(unit string) int {
	w.Helper()
	n := 0
	for _, r := range requests(w.T, w.at[unit][0]) {
		if r.isWrite() && r.ObjectRef.Namespace == w.at[unit][1] {
			n++
		}
	}
	return n
}

func TestWithoutThePlacementMaskObjectsWithAMaskAreHeldAndNothingIsReleased(t *testing.T) {
	w := newTenant(t, "gate-mask", "a "+east, "b "+west)
	w.apply(w.config("masked", "1", placed("a", "b")))
	w.apply(w.config("plain", "1", placed("a", "b")))
	w.apply(w.config("going", "1", placed("a", "b")))
	w.has("masked", "a=1", "b=1")
	w.has("plain", "a=1", "b=1")
	w.has("going", "a=1", "b=1")
	w.apply(w.config("masked", "2", placed("a", "b")+masked("a")))
	w.apply(w.config("going", "2", placed("a", "b")+"  placementMask: {}\n"))
	w.has("masked", "a=2")
	w.told("masked", "True")
	w.told("going", "True")

	before := w.writesTo("a") + w.writesTo("b")
	if out := w.without("PlacementMask"); !strings.Contains(out, "feature gate PlacementMask is off: objects with a placementMask, an empty one too, are held") {
		t.Errorf("whoever switches the gate off is not warned:\n%s", out)
	}
	w.onHold(w.config0("masked"), "feature gate PlacementMask is off", "spec.placementMask", "switch the gate on")
	w.onHold(w.config0("going"), "feature gate PlacementMask is off")
	w.apply(w.config("masked", "3", placed("a", "b")+masked("a")))
	w.keeps("masked", 2*time.Second, "a=2", "b=1")
	w.keeps("going", time.Second, "a=1", "b=1")
	if n := w.writesTo("a") + w.writesTo("b"); n != before {
		t.Errorf("switching a gate off made %d writes to members:\n%s", n-before, strings.Join(lastWrites(t, 5), "\n"))
	}

	w.apply(w.config("plain", "2", placed("a", "b")))
	w.has("plain", "a=2", "b=2")
	out := w.refused(w.config("new", "1", placed("a")+masked("a")))
	if !strings.Contains(out, "spec.placementMask: Forbidden: feature gate PlacementMask is off") {
		t.Errorf("a new mask is refused so:\n%s", out)
	}
	w.kubectl("delete", "federatedconfigmap/going", "-n", w.ns, "--timeout=20s")
	w.has("going", "a=", "b=")

	w.noSettings()
	w.has("masked", "a=3")
	w.told("masked", "True")
	w.keeps("masked", time.Second, "a=3", "b=1")
}

func TestWithoutTopologiesObjectsOfUnitsAreHeldAndThoseOfMembersAreNot(t *testing.T) {
	w := newTenant(t, "gate-topologies", "a "+east)
	w.at["member"] = [2]string{west, w.ns}
	w.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: gate-topologies-2}\n")
	t.Cleanup(func() { w.kubectlLater("delete", "namespace", "gate-topologies-2", "--wait=false") })
	w.apply(w.config("cells", "1", placed("a")))
	w.has("cells", "a=1")
	member := func(version string) string {
		return fmt.Sprintf("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedConfigMap\nmetadata: {namespace: %s, name: members}\n"+
			"spec: {placement: {clusters: [{name: %s}]}, template: {data: {version: %q}}}\n", w.ns, west, version)
	}
	if _, err := world.inside[west].Resource(namespaces).Create(t.Context(), decode(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+w.ns+"}}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.apply(member("1"))
	w.has("members", "member=1")

	w.without("Topologies")
	w.onHold(w.config0("cells"), "feature gate Topologies is off", "spec.topologyType is cell")
	w.apply(member("2"))
	w.has("members", "member=2")
	w.apply(w.config("cells", "2", placed("a")))
	w.keeps("cells", time.Second, "a=1")
	if out := w.refused(w.config("new", "1", placed("a"))); !strings.Contains(out, "spec.topologyType: Forbidden: feature gate Topologies is off") {
		t.Errorf("a new object of cells is refused so:\n%s", out)
	}
	unit := "apiVersion: topology.cellfed.io/v1alpha1\nkind: Unit\nmetadata: {namespace: gate-topologies-2, name: b}\nspec: {cluster: " + east + "}\n"
	if out := w.refused(unit); !strings.Contains(out, "feature gate Topologies is off") {
		t.Errorf("a new unit is refused so:\n%s", out)
	}
	w.kubectl("delete", "federatedconfigmap/cells", "-n", w.ns, "--timeout=20s")
	w.has("cells", "a=")
}

// kubectlLater cleans up after a test.
func (w *tenant) kubectlLater(args ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := kubectl(ctx, "", args...); err != nil {
		w.Errorf("cleaning up: %v\n%s", err, out)
	}
}

func TestWithoutTenantIsolationObjectsOfTenantsAreHeldAndThoseOfNobodyAreNot(t *testing.T) {
	w := newTenant(t, "gate-nobody", "a "+east)
	theirs := &tenant{T: t, ns: "gate-tenant", at: map[string][2]string{}}
	t.Cleanup(theirs.clean)
	theirs.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: gate-tenant, labels: {tenancy.cellfed.io/tenant: acme}}\n" + theirs.unit("b "+west))
	theirs.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", "gate-tenant", "--timeout=30s")
	w.apply(w.config("web", "1", placed("a")))
	theirs.apply(theirs.config("web", "1", placed("b")))
	w.has("web", "a=1")
	theirs.has("web", "b=1")

	w.without("TenantIsolation")
	theirs.onHold(theirs.config0("web"), "feature gate TenantIsolation is off", "namespace gate-tenant is a tenant's")
	theirs.apply(theirs.config("web", "2", placed("b")))
	w.apply(w.config("web", "2", placed("a")))
	w.has("web", "a=2")
	theirs.keeps("web", time.Second, "b=1")
	w.noSettings()
	theirs.has("web", "b=2")
}

func TestWithoutPropagationOfAnnotationsOrRetentionTypesThatListThemAreHeld(t *testing.T) {
	w := newTenant(t, "gate-policies", "a "+east)
	f := w.federate("", "v1", "Secret", "secrets", true)
	t.Cleanup(func() { w.kubectlLater("delete", "ftc/secrets", "-n", "kube-federation-system", "--timeout=20s") })
	f.put("key", `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {stringData: {v: "1"}}}`)
	done := func() error {
		if c := conditionOf(f.stored("key"), "Propagation"); c["status"] != "True" {
			return fmt.Errorf("Propagation is %v", c)
		}
		return nil
	}
	w.eventually(done)
	list := func(fields string) {
		w.Helper()
		w.kubectl("patch", "ftc/secrets", "-n", "kube-federation-system", "--type=merge", "-p", `{"spec":{`+fields+`}}`)
	}
	w.without("AnnotationPropagation", "FieldRetention")
	w.eventually(done)
	for field, gate := range map[string]string{`"propagatingAnnotations":["acme.example/*"]`: "AnnotationPropagation", `"retainedFields":["/data/cert"]`: "FieldRetention"} {
		out, err := kubectl(t.Context(), "", "patch", "ftc/secrets", "-n", "kube-federation-system", "--type=merge", "-p", `{"spec":{`+field+`}}`)
		if err == nil || !strings.Contains(out, "feature gate "+gate+" is off") {
			t.Errorf("%s is taken or refused so: %s", field, out)
		}
		w.noSettings()
		w.eventually(func() error {
			out, err := kubectl(t.Context(), "", "patch", "ftc/secrets", "-n", "kube-federation-system", "--type=merge", "-p", `{"spec":{`+field+`}}`)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		w.eventually(done)
		w.without("AnnotationPropagation", "FieldRetention")
		w.onHold(func() *unstructured.Unstructured { return f.stored("key") }, "feature gate "+gate+" is off", "FederatedTypeConfig secrets lists")
		list(`"propagatingAnnotations":null,"retainedFields":null`)
		w.eventually(done)
	}
	f.delete("key")
}

func TestWithoutThePushReconcilerNothingIsWrittenButDeletions(t *testing.T) {
	w := newTenant(t, "gate-push", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.apply(w.config("going", "1", placed("a")))
	w.has("web", "a=1")
	w.has("going", "a=1")
	w.without("PushReconciler")
	w.onHold(w.config0("web"), "feature gate PushReconciler is off")
	w.apply(w.config("web", "2", placed("a")))
	w.keeps("web", time.Second, "a=1")
	w.kubectl("delete", "federatedconfigmap/going", "-n", w.ns, "--timeout=20s")
	w.has("going", "a=")
	w.noSettings()
	w.has("web", "a=2")
}

func TestWithoutHealthOrRawStatusTheyAreLeftOutAndNothingIsHeld(t *testing.T) {
	w := newTenant(t, "gate-status", "a "+east)
	f := deploymentsOf(w)
	put := func(replicas int) {
		t.Helper()
		f.put("web", fmt.Sprintf(`{topologyType: cell, placement: {topologies: [{name: a}]}, template: {spec: {replicas: %d, selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}}`, replicas))
	}
	has := func(field string, want bool) {
		t.Helper()
		w.eventually(func() error {
			e := f.unitStatus("web", "a")
			if _, there := e[field]; there != want {
				return fmt.Errorf("%s is there: %t, want %t: %v", field, there, want, e)
			}
			return nil
		})
	}
	put(1)
	has("health", true)
	has("remoteStatus", true)
	w.without("HealthStatus", "RawResourceStatusCollection")
	has("health", false)
	has("remoteStatus", false)
	put(0)
	w.eventually(func() error {
		u, err := world.inside[east].Resource(deployments).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); n != 0 {
			return fmt.Errorf("the copy has %d replicas, want 0: it is held", n)
		}
		return nil
	})
	w.noSettings()
	has("health", true)
	has("remoteStatus", true)
}

func TestAGateOfTheConfigHoldsFromTheFirstMomentOfARestart(t *testing.T) {
	w := newTenant(t, "gate-restart", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.apply(w.config("web", "1", placed("a", "b")+masked("a")))
	w.told("web", "True")
	w.without("PlacementMask")
	w.onHold(w.config0("web"))
	w.apply(w.config("web", "2", placed("a", "b")+masked("a")))
	if err := world.plane.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := world.plane.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.onHold(w.config0("web"), "feature gate PlacementMask is off")
	w.keeps("web", 3*time.Second, "a=1", "b=1")
	w.noSettings()
	w.has("web", "a=2")
	w.keeps("web", time.Second, "b=1")
}

func TestGatesOfTheCommandLineAreToldWhenTheyAreUnknownAndAConfigSaysOtherwise(t *testing.T) {
	_, err := harness.StartPlane(t.Context(), harness.PlaneOptions{Args: []string{"--feature-gates=PlacementMaks=false"}})
	if err == nil || !strings.Contains(err.Error(), "PlacementMaks") || !strings.Contains(err.Error(), `"PlacementMask"`) {
		t.Fatalf("an unknown gate is told so: %v", err)
	}
	p := harness.RunPlane(t, harness.PlaneOptions{
		Config: "apiVersion: config.cellfed.io/v1alpha1\nkind: CellFedConfiguration\nfeatureGates: {Topologies: false, PlacementMask: true}\n",
		Args:   []string{"--feature-gates=PlacementMask=false"},
	})
	run := func(manifest string) (string, error) {
		return kubectl(t.Context(), manifest, "--kubeconfig", p.Kubeconfig, "apply", "-f", "-")
	}
	if out, err := run(typeConfigs); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := kubectl(t.Context(), "", "--kubeconfig", p.Kubeconfig, "wait", "--for=condition=Served", "ftc", "--all", "-n", "kube-federation-system", "--timeout=60s"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	object := "apiVersion: types.kubefed.io/v2beta1\nkind: FederatedConfigMap\nmetadata: {namespace: default, name: %s}\nspec: {%s, template: {}}\n"
	for gate, spec := range map[string]string{"PlacementMask": "placementMask: {}", "Topologies": "topologyType: cell"} {
		if out, err := run(fmt.Sprintf(object, "first", spec)); err == nil || !strings.Contains(out, "feature gate "+gate+" is off") {
			t.Errorf("with %s switched off at the start: %v\n%s", gate, err, out)
		}
	}
	if out, err := run("apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedConfig\nmetadata: {name: kubefed, namespace: kube-federation-system}\n" +
		"spec: {featureGates: [{name: PlacementMask, configuration: Enabled}]}\n"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := run(fmt.Sprintf(object, "second", "placement: {topologies: []}, placementMask: {}"))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the config's gate is not in force: %v\n%s", err, out)
		}
	}
	if out, err := run(fmt.Sprintf(object, "third", "topologyType: cell")); err == nil || !strings.Contains(out, "feature gate Topologies is off") {
		t.Errorf("a gate that the config does not name is not as at the start: %v\n%s", err, out)
	}
}
