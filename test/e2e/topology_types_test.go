package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// zone is the manifest of a unit of type zone.
func (w *tenant) zone(cell string) string {
	return strings.Replace(w.unit(cell), "spec: {", "spec: {topologyType: zone, ", 1)
}

func (w *tenant) ready() {
	w.Helper()
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=30s")
}

func zoned(manifest string) string {
	return strings.Replace(manifest, "topologyType: cell", "topologyType: zone", 1)
}

func TestASecondTopologyTypeWorksByConfigurationAlone(t *testing.T) {
	w := newTenant(t, "zones", "c "+west+" zones-c")
	w.apply(w.zone("z1 "+east+" zones-1") + w.zone("z2 "+west+" zones-2"))
	w.kubectl("label", "units/z1", "units/c", "-n", w.ns, "city=hangzhou")
	w.ready()
	w.apply(zoned(w.config("web", "1", placed("z1", "z2"))))
	w.has("web", "z1=1", "z2=1", "c=")
	w.told("web", "True")
	w.apply(zoned(w.config("web", "2", placed("z1", "z2")+masked("z2"))))
	w.has("web", "z2=2")
	w.told("web", "True")
	w.keeps("web", time.Second, "z1=1")
	if e := w.entry("web", "z1"); e["held"] != true {
		t.Errorf("status of z1 is %v, want held", e)
	}
	spec := clusterForm.read(w, "web").Object["spec"].(map[string]any)
	want := decode(t, "{clusters: [{name: z1.zones.zone}, {name: z2.zones.zone}]}").Object
	if diff := cmp.Diff(want, spec["placement"]); diff != "" {
		t.Errorf("placement in cluster form (-want +got):\n%s", diff)
	}

	t.Run("a selector selects units of its own type only", func(t *testing.T) {
		w := &tenant{T: t, ns: w.ns, at: w.at}
		w.apply(zoned(w.config("all-zones", "1", "  placement: {topologySelector: {matchLabels: {city: hangzhou}}}\n")))
		w.apply(w.config("all-cells", "1", "  placement: {topologySelector: {matchLabels: {city: hangzhou}}}\n"))
		w.has("all-zones", "z1=1")
		w.has("all-cells", "c=1")
		w.told("all-zones", "True")
		w.told("all-cells", "True")
		w.keeps("all-zones", time.Second, "c=", "z2=")
		w.keeps("all-cells", 500*time.Millisecond, "z1=", "z2=")
	})
	t.Run("an object of one type cannot name units of another", func(t *testing.T) {
		w := &tenant{T: t, ns: w.ns, at: w.at}
		out := w.refused(w.config("mixed", "1", placed("c", "z1")))
		if !strings.Contains(out, "spec.placement.topologies[1].name") || !strings.Contains(out, "no unit z1 of type cell in namespace zones (it is of type zone)") {
			t.Errorf("the refusal is %s", out)
		}
		full := clusterForm.config(w, "mixed", "1", "placement: {clusters: [{name: z1.zones.zone}]}")
		if out := w.refused(full); !strings.Contains(out, "spec.placement.clusters[0].name") {
			t.Errorf("the refusal is %s", out)
		}
	})
	t.Run("the type of an object and of a unit is immutable, in both forms", func(t *testing.T) {
		w := &tenant{T: t, ns: w.ns, at: w.at}
		for _, f := range bothForms {
			out, code := kubectlExit(t, "", "patch", f.resource+"/web", "-n", w.ns, "--type=merge", "-p", `{"spec":{"topologyType":"cell"}}`)
			if code == 0 || !strings.Contains(out, "spec.topologyType") || !strings.Contains(out, "immutable") {
				t.Errorf("changing the type in %s gives %d: %s", f.version, code, out)
			}
		}
		if out := w.refused(w.unit("z1 " + east + " zones-1")); !strings.Contains(out, "immutable") {
			t.Errorf("the refusal of a cell that is called as a zone is %s", out)
		}
	})
	t.Run("a type that is not configured is refused", func(t *testing.T) {
		w := &tenant{T: t, ns: w.ns, at: w.at}
		out := w.refused(strings.Replace(w.config("rack", "1", ""), "topologyType: cell", "topologyType: rack", 1))
		if !strings.Contains(out, "spec.topologyType") || !strings.Contains(out, `"zone"`) {
			t.Errorf("the refusal is %s", out)
		}
	})
}

// As a KubeFed user wrote it, with nothing of ours in it.
const kubeFedManifest = `apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: web, namespace: %s}
spec:
  template:
    metadata: {labels: {app: web}}
    data: {version: "1", gone: x, kept: this}
  placement: %s
  overrides:
  - clusterName: west
    clusterOverrides:
    - {path: /data/version, value: west}
    - {path: /data/added, op: add, value: "on"}
    - {path: /data/gone, op: remove}
    - {path: /metadata/annotations, op: add, value: {note: "here"}}
`

func TestManifestsOfKubeFedApplyUnchanged(t *testing.T) {
	w := newTenant(t, "kubefedmanifest")
	for _, m := range []string{east, west, tower} {
		w.at[m] = [2]string{m, w.ns}
	}
	out := w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusters: [{name: east}, {name: west}, {name: nowhere}]}"))
	if !strings.Contains(out, "Warning") || !strings.Contains(out, "nowhere") {
		t.Errorf("apply does not warn of a cluster that is not there: %s", out)
	}
	w.has("web", "east=1", "west=west", "tower=")
	data, _, _ := unstructured.NestedStringMap(w.copyIn("west", "web").Object, "data")
	if want := map[string]string{"version": "west", "added": "on", "kept": "this"}; !cmp.Equal(want, data) {
		t.Errorf("data in west is %v, want %v", data, want)
	}
	data, _, _ = unstructured.NestedStringMap(w.copyIn("east", "web").Object, "data")
	if want := map[string]string{"version": "1", "gone": "x", "kept": "this"}; !cmp.Equal(want, data) {
		t.Errorf("data in east is %v, want %v", data, want)
	}
	for _, e := range []string{east, west} {
		w.eventually(func() error {
			if entry := w.entry("web", e); entry == nil || entry["status"] != nil {
				return fmt.Errorf("status of %s is %v", e, entry)
			}
			return nil
		})
	}

	w.kubectl("label", "kubefedcluster/tower", "kubefedcluster/west", "-n", "kube-federation-system", "e2e-kubefed=yes")
	w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusterSelector: {matchLabels: {e2e-kubefed: \"yes\"}}}"))
	w.has("web", "east=", "west=west", "tower=1")
	w.kubectl("label", "kubefedcluster/tower", "-n", "kube-federation-system", "e2e-kubefed-")
	w.has("web", "tower=")
	w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusters: []}"))
	w.has("web", "west=")
}

func TestAnOverrideOfNullLeavesAFieldToTheMember(t *testing.T) {
	w := newTenant(t, "nullvalue", "a "+east, "b "+west)
	f := deploymentsOf(w)
	const spec = `{topologyType: cell, placement: {topologies: [{name: a}, {name: b}]}, template: {spec: {replicas: 2, selector: {matchLabels: {app: web}},
		template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: registry.example.com/web:1}]}}}},
		overrides: [{topologyName: b, topologyOverrides: [{path: /spec/replicas, value: null}]}]}`
	manifest := "apiVersion: types.kubefed.io/v2beta1\nkind: FederatedDeployment\nmetadata: {namespace: nullvalue, name: web}\nspec: " + spec
	if out, code := kubectlExit(t, manifest, "apply", "--server-side", "-f", "-"); code != 0 {
		t.Fatal(out)
	}
	f.put("client-side", spec) // kubectl leaves the null out then: no value is null
	for _, name := range []string{"web", "client-side"} {
		f.field(east, w.ns, name, "2", "spec", "replicas")
		f.field(west, w.ns, name, "1", "spec", "replicas")
		f.is(name, "b", "")
	}
	overrides, _, _ := unstructured.NestedSlice(f.stored("web").Object, "spec", "overrides")
	operation := overrides[0].(map[string]any)["topologyOverrides"].([]any)[0].(map[string]any)
	if value, there := operation["value"]; !there || value != nil {
		t.Errorf("the null is not stored: %v", operation)
	}
	generation := f.inside(west, w.ns, "web").GetGeneration()
	time.Sleep(time.Second)
	if now := f.inside(west, w.ns, "web").GetGeneration(); now != generation {
		t.Errorf("the copy is written again and again: generation %d → %d", generation, now)
	}
	f.delete("web")
}
