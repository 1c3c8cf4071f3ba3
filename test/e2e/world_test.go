package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

var (
	configMaps   = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	deployments  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	units        = schema.GroupVersionResource{Group: "topology.cellfed.io", Version: "v1alpha1", Resource: "units"}
	fedConfigMap = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federatedconfigmaps"}
)

// patience is how long a test waits for what should happen at once: the machine may be busy.
const patience = 20 * time.Second

// tenant is a plane namespace with units, of one test.
type tenant struct {
	*testing.T
	ns string
	// at is unit → {member, member namespace}.
	at map[string][2]string
}

// newTenant makes a namespace with units: "name member" or "name member memberNamespace".
func newTenant(t *testing.T, name string, cells ...string) *tenant {
	t.Helper()
	w := &tenant{T: t, ns: name, at: map[string][2]string{}}
	manifest := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
	for _, c := range cells {
		manifest += w.unit(c)
	}
	w.apply(manifest)
	t.Cleanup(w.clean)
	if len(cells) > 0 {
		w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", name, "--timeout=30s")
	}
	return w
}

// unit is the manifest of a unit, which the tenant knows from now on.
func (w *tenant) unit(cell string) string {
	f := strings.Fields(cell)
	namespace := w.ns
	if len(f) > 2 {
		namespace = f[2]
	}
	w.at[f[0]] = [2]string{f[1], namespace}
	return fmt.Sprintf("---\napiVersion: topology.cellfed.io/v1alpha1\nkind: Unit\nmetadata: {namespace: %s, name: %s}\nspec: {cluster: %s, memberNamespace: %s}\n",
		w.ns, f[0], f[1], namespace)
}

// clean begins to delete the tenant's namespace with all that is in it. No test needs to wait for that: names are each
// test's own.
func (w *tenant) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := kubectl(ctx, "", "delete", "namespace", w.ns, "--wait=false"); err != nil && !strings.Contains(out, "NotFound") {
		w.Errorf("cleaning up %s: %v\n%s", w.ns, err, out)
	}
}

// kubectl must work; it returns what it printed.
func (w *tenant) kubectl(args ...string) string {
	w.Helper()
	out, err := kubectl(w.Context(), "", args...)
	if err != nil {
		w.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *tenant) apply(manifest string) string {
	w.Helper()
	out, err := kubectl(w.Context(), manifest, "apply", "-f", "-")
	if err != nil {
		w.Fatalf("applying: %v\n%s\n%s", err, out, manifest)
	}
	return out
}

// refused applies a manifest that the plane must refuse, and returns what it said.
func (w *tenant) refused(manifest string) string {
	w.Helper()
	out, err := kubectl(w.Context(), manifest, "apply", "-f", "-")
	if err == nil {
		w.Fatalf("the plane took what it should refuse:\n%s", manifest)
	}
	return out
}

// config is the manifest of a FederatedConfigMap in topology form; spec lines beyond the template are YAML of two
// spaces' indent.
func (w *tenant) config(name, version string, spec string) string {
	return fmt.Sprintf("apiVersion: types.kubefed.io/v2beta1\nkind: FederatedConfigMap\nmetadata: {namespace: %s, name: %s}\nspec:\n  topologyType: cell\n  template: {data: {version: \"%s\"}}\n%s\n",
		w.ns, name, version, spec)
}

// placed is the spec line that places in units, masked the one that masks.
func placed(units ...string) string { return "  placement: {topologies: [" + entries(units) + "]}\n" }
func masked(units ...string) string {
	return "  placementMask: {topologies: [" + entries(units) + "]}\n"
}

func entries(units []string) string {
	var out []string
	for _, u := range units {
		out = append(out, "{name: "+u+"}")
	}
	return strings.Join(out, ", ")
}

// get reads a FederatedConfigMap in topology form.
func (w *tenant) get(name string) *unstructured.Unstructured {
	w.Helper()
	u, err := world.client.Resource(fedConfigMap).Namespace(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return u
}

// entry is a unit's entry in the status of a FederatedConfigMap; nil = none.
func (w *tenant) entry(name, unit string) map[string]any {
	w.Helper()
	list, _, _ := unstructured.NestedSlice(w.get(name).Object, "status", "topologies")
	for _, e := range list {
		if m := e.(map[string]any); m["name"] == unit {
			return m
		}
	}
	return nil
}

func conditionOf(u *unstructured.Unstructured, typ string) map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		if m := c.(map[string]any); m["type"] == typ {
			return m
		}
	}
	return nil
}

// told waits until the object's status is about its generation and Propagation is as wanted ("True", "False").
func (w *tenant) told(name, want string) *unstructured.Unstructured {
	w.Helper()
	var u *unstructured.Unstructured
	w.eventually(func() error {
		u = w.get(name)
		observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
		if observed != u.GetGeneration() {
			return fmt.Errorf("status is about generation %d, the object is at %d", observed, u.GetGeneration())
		}
		if c := conditionOf(u, "Propagation"); c["status"] != want {
			return fmt.Errorf("Propagation is %v", c)
		}
		return nil
	})
	return u
}

// copyIn reads the copy of a ConfigMap from a unit's member; nil = there is none.
func (w *tenant) copyIn(unit, name string) *unstructured.Unstructured {
	w.Helper()
	u, err := world.inside[w.at[unit][0]].Resource(configMaps).Namespace(w.at[unit][1]).Get(w.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return u
}

// version is what a unit's copy says of itself; "" = there is no copy.
func (w *tenant) version(unit, name string) string {
	w.Helper()
	u := w.copyIn(unit, name)
	if u == nil {
		return ""
	}
	v, _, _ := unstructured.NestedString(u.Object, "data", "version")
	return v
}

// has waits until units have these versions: "unit=version", "unit=" for no copy.
func (w *tenant) has(name string, want ...string) {
	w.Helper()
	w.eventually(func() error { return w.mismatch(name, want) })
}

// keeps checks for a while that units have, and go on having, these versions.
func (w *tenant) keeps(name string, long time.Duration, want ...string) {
	w.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err := w.mismatch(name, want); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *tenant) mismatch(name string, want []string) error {
	w.Helper()
	var errs []error
	for _, s := range want {
		unit, version, _ := strings.Cut(s, "=")
		if got := w.version(unit, name); got != version {
			errs = append(errs, fmt.Errorf("%s has version %q, want %q", unit, got, version))
		}
	}
	return errors.Join(errs...)
}

func (w *tenant) eventually(holds func() error) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// editCopy changes a copy in the member, as somebody there would.
func (w *tenant) editCopy(unit, name, patch string) {
	w.Helper()
	at := w.at[unit]
	if _, err := world.inside[at[0]].Resource(configMaps).Namespace(at[1]).Patch(w.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *tenant) deleteCopy(unit, name string) {
	w.Helper()
	at := w.at[unit]
	if err := world.inside[at[0]].Resource(configMaps).Namespace(at[1]).Delete(w.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// decode reads a manifest of one object.
func decode(t testing.TB, manifest string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}
