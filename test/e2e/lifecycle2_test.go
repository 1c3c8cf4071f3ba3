package e2e

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func TestAMemberThatMayHoldCopiesCannotVanish(t *testing.T) {
	stay := second(t, "stay", west)
	stay.federate(t)
	w := newTenant(t, "life2-member", "a stay life2-member-a")
	w.at["a"] = [2]string{west, "life2-member-a"}
	w.awaitReady("stay", "True")
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	w.apply(fmt.Sprintf("apiVersion: types.kubefed.io/v2beta1\nkind: FederatedConfigMap\nmetadata: {namespace: %s, name: whole}\nspec: {template: {data: {version: \"1\"}}, placement: {topologies: [{name: stay}]}}\n", w.ns))
	w.told("whole", "True")
	w.kubectl("delete", "kubefedcluster/stay", "-n", federation, "--wait=false")
	holds := func(what string) {
		t.Helper()
		w.eventually(func() error {
			u, err := world.client.Resource(kubeFedClusters).Namespace(federation).Get(t.Context(), "stay", metav1.GetOptions{})
			if err != nil {
				t.Fatalf("the member went while %s was there: %v", what, err)
			}
			if c := conditionOf(u, "Removable"); c["status"] != "False" || !strings.Contains(fmt.Sprint(c["message"]), what) {
				return fmt.Errorf("condition Removable is %v, want %s named", c, what)
			}
			return nil
		})
	}
	holds("unit a")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.has("web", "a=")
	w.kubectl("delete", "unit/a", "-n", w.ns, "--timeout=20s")
	holds("FederatedConfigMap life2-member/whole")
	w.kubectl("delete", "federatedconfigmap/whole", "-n", w.ns, "--timeout=20s")
	w.kubectl("wait", "--for=delete", "kubefedcluster/stay", "-n", federation, "--timeout=20s")
}

func TestAUnitThatWasMadeAnewElsewhereStartsThereWhenItsFormerPlaceIsGivenUp(t *testing.T) {
	w := newTenant(t, "life2-remade", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	w.kubectl("delete", "unit/a", "-n", w.ns, "--wait=false")
	// Somebody cuts the finalizer off, and makes the unit in another member.
	if _, err := world.client.Resource(units).Namespace(w.ns).Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.apply(w.unit("a " + west))
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=30s")
	w.eventually(func() error {
		if e := w.entry("web", "a"); e["status"] != "UnitRemade" {
			return fmt.Errorf("status of a is %v, want UnitRemade", e)
		}
		return nil
	})
	if v := w.version("a", "web"); v != "" {
		t.Errorf("the new place has version %q", v)
	}
	w.kubectl("cellfed", "abandon", east, "--unit", "a", "-n", w.ns, "--yes")
	w.has("web", "a=1")
	w.told("web", "True")
	// What is in the former place is told and stays.
	w.eventually(func() error {
		list, err := world.client.Resource(abandonments).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if unit, _, _ := unstructured.NestedString(list.Items[i].Object, "spec", "unit"); unit != "a."+w.ns+".cell" {
				continue
			}
			if n, _, _ := unstructured.NestedInt64(list.Items[i].Object, "status", "leftoverCount"); n == 1 {
				return nil
			}
			return fmt.Errorf("what was left is told as %v", list.Items[i].Object["status"])
		}
		return fmt.Errorf("the unit's former place was not given up")
	})
	if _, err := world.inside[east].Resource(configMaps).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Errorf("the copy in the former place: %v", err)
	}
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.has("web", "a=")
	if _, err := world.inside[east].Resource(configMaps).Namespace(w.ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Errorf("the copy in the former place, after the object: %v", err)
	}
	w.kubectl("cellfed", "abandon", east, "--unit", "a", "-n", w.ns, "--undo")
}

func TestAUnitMadeAgainInTheSamePlaceGoesOnWithItsCopies(t *testing.T) {
	w := newTenant(t, "life2-again", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	w.kubectl("delete", "unit/a", "-n", w.ns, "--wait=false")
	if _, err := world.client.Resource(units).Namespace(w.ns).Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.apply(w.unit("a " + east))
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=30s")
	uid := w.copyIn("a", "web").GetUID()
	w.apply(w.config("web", "2", placed("a")))
	w.has("web", "a=2")
	w.told("web", "True")
	if w.copyIn("a", "web").GetUID() != uid {
		t.Error("the copy was made anew")
	}
}

func TestACopyWhoseFederatedObjectWasTakenAwayIsToldAndStays(t *testing.T) {
	p := newOwnPlane(t, tower)
	h := p.newHerd(t, "life2-orphaned", "a "+tower)
	h.must(h.make(h.Context(), "web", wish{1, "*", "a"}))
	h.settled()
	back := away(t, tower)
	h.must(h.delete("web"))
	// Somebody who is tired of waiting cuts the finalizer off.
	_, err := h.objects().Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	h.must(err)
	if n := len(h.stored()); n != 0 {
		t.Fatalf("%d objects are left", n)
	}
	back()
	p.eventually(func() error {
		u, err := p.client.Resource(kubeFedClusters).Namespace(federation).Get(t.Context(), tower, metav1.GetOptions{})
		if c := conditionOf(u, "Leftovers"); err != nil || c["status"] != "True" || !strings.Contains(fmt.Sprint(c["message"]), "life2-orphaned/web") {
			return fmt.Errorf("the member says of leftovers %v: %w", c, err)
		}
		return nil
	})
	if got := h.copies("a"); got["web"] == "" {
		t.Errorf("the copies are %v, want web", got)
	}
}
