package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// federateNamespaces federates namespaces with KubeFed's own FederatedTypeConfig.
func (w *tenant) federateNamespaces() *federated {
	w.Helper()
	f := &federated{tenant: w, config: "namespaces", kind: "FederatedNamespace", namespaced: true, inMember: namespaces,
		resource: schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federatednamespaces"}}
	w.apply(`apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: namespaces, namespace: kube-federation-system}
spec:
  federatedType: {group: types.kubefed.io, kind: FederatedNamespace, pluralName: federatednamespaces, scope: Namespaced, version: v1beta1}
  propagation: Enabled
  targetType: {kind: Namespace, pluralName: namespaces, scope: Cluster, version: v1}
`)
	f.awaitServed()
	return f
}

// space is a namespace in a member; nil = there is none.
func (w *tenant) space(member, name string) *unstructured.Unstructured {
	w.Helper()
	u, err := world.inside[member].Resource(namespaces).Get(w.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return u
}

// spaces waits until namespaces of members are there ("east/x") or are gone ("!east/x").
func (w *tenant) spaces(want ...string) {
	w.Helper()
	w.eventually(func() error {
		for _, s := range want {
			at, gone := strings.CutPrefix(s, "!")
			member, name, _ := strings.Cut(at, "/")
			if u := w.space(member, name); (u == nil) != gone {
				return fmt.Errorf("namespace %s: want %q, there is %v", at, s, u != nil)
			}
		}
		return nil
	})
}

func managed(u *unstructured.Unstructured) bool {
	return u != nil && u.GetLabels()[wellknown.ManagedLabel] == "true"
}

// kubefed 3.12: the FederatedNamespace of a namespace places the namespace. Under a unit topology it goes by the unit's
// own name for it. It takes over what propagation made because a copy needed it, and nobody else's.
func TestAFederatedNamespaceIsInEachUnitWhatTheUnitCallsIt(t *testing.T) {
	w := newTenant(t, "fns-cells", "a "+east, "b "+east+" fns-cells-b", "c "+west+" fns-cells-c")
	f := w.federateNamespaces()
	// A copy is there first, and with it a namespace that propagation made for it; and a namespace that somebody made.
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	foreign := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "fns-cells-c"}}}
	if _, err := world.inside[west].Resource(namespaces).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.put("fns-cells", `{topologyType: cell, placement: {topologySelector: {}}, template: {metadata: {labels: {team: web}}},
		overrides: [{topologyName: b, topologyOverrides: [{path: /metadata/labels/team, value: b}]}]}`)
	f.field(east, "", "fns-cells", "web", "metadata", "labels", "team")
	f.field(east, "", "fns-cells-b", "b", "metadata", "labels", "team")
	f.is("fns-cells", "a", "")
	f.is("fns-cells", "b", "")
	f.is("fns-cells", "c", "AlreadyExists")
	if managed(w.space(west, "fns-cells-c")) || managed(w.space(east, "fns-cells")) == false {
		t.Error("the namespace that somebody made is marked, or the plane's own is not")
	}
	f.kubectl("annotate", "federatednamespace/fns-cells", "-n", w.ns, "cellfed.io/adopt=true")
	f.is("fns-cells", "c", "")
	f.field(west, "", "fns-cells-c", "web", "metadata", "labels", "team")

	// Member-side drift is repaired.
	if err := world.inside[east].Resource(namespaces).Delete(t.Context(), "nobody", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	u := w.space(east, "fns-cells-b")
	u.SetLabels(map[string]string{"kubefed.io/managed": "true", "team": "somebody"})
	if _, err := world.inside[east].Resource(namespaces).Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.field(east, "", "fns-cells-b", "b", "metadata", "labels", "team")

	// What lives in a namespace goes first, by its own object's will.
	w.told("web", "True")
	f.put("fns-cells", `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {metadata: {labels: {team: web}}}}`)
	w.spaces("!west/fns-cells-c", "east/fns-cells")
	// The FederatedNamespace does not admit b any more, so the copy goes, and then the namespace.
	w.spaces("!east/fns-cells-b")
	w.has("web", "a=1")

	f.kubectl("delete", "federatednamespace/fns-cells", "-n", w.ns, "--wait=false")
	f.is("fns-cells", "a", "Occupied")
	if m := fmt.Sprint(f.unitStatus("fns-cells", "a")["message"]); !strings.Contains(m, "FederatedConfigMap fns-cells/web") {
		t.Errorf("the message does not name what lives there: %s", m)
	}
	w.keeps("web", 2*time.Second, "a=1")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	began := time.Now()
	w.kubectl("wait", "--for=delete", "federatednamespace/fns-cells", "-n", w.ns, "--timeout=20s")
	t.Logf("the namespace's end came %s after its last object's", time.Since(began).Round(10*time.Millisecond))
	w.spaces("!east/fns-cells")
}

// kubefed 3.2: objects are placed within the placement of their FederatedNamespace. Its absence restricts nothing and
// deletes nothing.
func TestAFederatedNamespaceNarrowsWhereObjectsArePlaced(t *testing.T) {
	w := newTenant(t, "fns-narrow")
	for _, m := range []string{east, west, tower} {
		w.at[m] = [2]string{m, w.ns}
	}
	f := w.federateNamespaces()
	place := func(clusters string) {
		f.apply("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedNamespace\nmetadata: {namespace: fns-narrow, name: fns-narrow}\nspec: {placement: " + clusters + "}\n")
	}
	place(`{clusters: [{name: east}]}`)
	w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusterSelector: {}}"))
	w.has("web", "east=1", "west=", "tower=")
	w.told("web", "True")
	place(`{clusters: [{name: east}, {name: west}]}`)
	w.has("web", "east=1", "west=west", "tower=")
	w.told("web", "True")
	place(`{clusters: [{name: west}]}`)
	w.has("web", "east=", "west=west")
	w.spaces("!east/fns-narrow", "west/fns-narrow", "!tower/fns-narrow")

	// The plane's namespace comes to its end: the objects first, then the namespace's own copies.
	w.kubectl("delete", "namespace", w.ns, "--timeout=60s")
	w.spaces("!west/fns-narrow")
}

// kubefed 3.2: without a FederatedNamespace KubeFed deletes all copies; here nothing happens to them.
func TestANamespaceThatIsNotFederatedAnyMoreKeepsItsObjects(t *testing.T) {
	w := newTenant(t, "fns-absent")
	w.at[east], w.at[west] = [2]string{east, w.ns}, [2]string{west, w.ns}
	f := w.federateNamespaces()
	f.apply("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedNamespace\nmetadata: {namespace: fns-absent, name: fns-absent}\nspec: {placement: {clusterSelector: {matchLabels: {}}}}\n")
	w.apply(fmt.Sprintf(kubeFedManifest, w.ns, "{clusters: [{name: east}, {name: west}]}"))
	w.has("web", "east=1", "west=west")
	w.told("web", "True")
	w.spaces("east/fns-absent", "west/fns-absent", "tower/fns-absent")
	f.kubectl("annotate", "federatednamespace/fns-absent", "-n", w.ns, "kubefed.io/orphan=true")
	f.delete("fns-absent") // is left behind, and so waits for nobody
	w.keeps("web", 2*time.Second, "east=1", "west=west")
	if u := w.space(tower, "fns-absent"); u == nil || managed(u) {
		t.Errorf("the namespace in tower was to be left behind without marks: %v", u)
	}
	w.told("web", "True")
}

// kubefed 3.12: what is never propagated, and under which name nothing is.
func TestSystemNamespacesAreNeverPropagated(t *testing.T) {
	w := newTenant(t, "fns-system")
	f := w.federateNamespaces()
	out := w.refused("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedNamespace\nmetadata: {namespace: fns-system, name: other}\nspec: {placement: {clusterSelector: {}}}\n")
	if !strings.Contains(out, "metadata.name") || !strings.Contains(out, "is named like it: fns-system") {
		t.Errorf("the refusal is %s", out)
	}
	f.apply("apiVersion: types.kubefed.io/v1beta1\nkind: FederatedNamespace\nmetadata: {namespace: default, name: default, annotations: {cellfed.io/adopt: \"true\"}}\nspec: {placement: {clusters: []}, template: {metadata: {labels: {fns: x}}}}\n")
	defer f.kubectl("delete", "federatednamespace/default", "-n", "default", "--timeout=20s")
	f.eventually(func() error {
		u, err := world.client.Resource(f.resource).Namespace("default").Get(t.Context(), "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := conditionOf(u, "Propagation"); c["reason"] != "OnHold" || !strings.Contains(fmt.Sprint(c["message"]), "never propagated") {
			return fmt.Errorf("Propagation is %v", c)
		}
		return nil
	})
	if u := w.space(east, "default"); managed(u) || u.GetLabels()["fns"] != "" {
		t.Errorf("namespace default of a member was written: %v", u.GetLabels())
	}
}

func TestAMemberNamespaceThatSomebodyDeletesComesBackWithAllThatWasInIt(t *testing.T) {
	w := newTenant(t, "fns-deleted", "a "+east, "b "+west)
	f := w.federateNamespaces()
	f.put("fns-deleted", `{topologyType: cell, placement: {topologySelector: {}}, template: {metadata: {labels: {team: web}}}}`)
	for i := range 5 {
		w.apply(w.config(fmt.Sprint("web-", i), "1", placed("a", "b")))
		w.has(fmt.Sprint("web-", i), "a=1", "b=1")
	}
	before := w.space(east, w.ns).GetUID()
	// It takes its time, as with pods that end slowly.
	w.editCopy("a", "web-0", `{"metadata":{"finalizers":["example.com/slow"]}}`)
	if err := world.inside[east].Resource(namespaces).Delete(t.Context(), w.ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() error {
		e := w.entry("web-1", "a")
		if e["status"] != "CreationFailed" || !strings.Contains(fmt.Sprint(e["message"]), "is being deleted there") {
			return fmt.Errorf("status of a is %v", e)
		}
		return nil
	})
	f.is("fns-deleted", "a", "WaitingForRemoval")
	w.has("web-1", "b=1")
	w.editCopy("a", "web-0", `{"metadata":{"finalizers":[]}}`)
	began := time.Now()
	f.field(east, "", w.ns, "web", "metadata", "labels", "team")
	for i := range 5 {
		w.has(fmt.Sprint("web-", i), "a=1", "b=1")
	}
	t.Logf("all was back %s after the namespace could go", time.Since(began).Round(10*time.Millisecond))
	if after := w.space(east, w.ns).GetUID(); after == before {
		t.Error("the namespace never went")
	}
	f.is("fns-deleted", "a", "")

	// With cells too the plane's namespace comes to its end: objects, their namespaces, units.
	w.kubectl("delete", "namespace", w.ns, "--timeout=60s")
	w.spaces("!east/fns-deleted", "!west/fns-deleted")
}
