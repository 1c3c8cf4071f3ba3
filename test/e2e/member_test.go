package e2e

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/playground"
)

var kubeFedClusters = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedclusters"}

// ready tells what the plane says of a member's Ready condition.
func ready(w *tenant, name string) string {
	w.Helper()
	u, err := world.client.Resource(kubeFedClusters).Namespace("kube-federation-system").Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	status, _ := conditionOf(u, "Ready")["status"].(string)
	return status
}

func (w *tenant) awaitReady(name, want string) {
	w.Helper()
	w.eventually(func() error {
		if got := ready(w, name); got != want {
			return fmt.Errorf("member %s is Ready=%q, want %q", name, got, want)
		}
		return nil
	})
}

func TestAMemberThatIsGoneDelaysNobodyAndIsUnchangedWhenItReturns(t *testing.T) {
	w := newTenant(t, "member-gone", "a "+east, "b "+west, "c "+tower)
	w.apply(w.config("web", "1", placed("a", "b", "c")))
	w.has("web", "a=1", "b=1", "c=1")
	w.told("web", "True")

	lost := world.members.Named(tower)
	lost.Stop(t)
	defer func() {
		if t.Failed() {
			_ = lost.Do(t.Context(), playground.ActionStart)
		}
	}()
	began := time.Now()
	w.apply(w.config("web", "2", placed("a", "b", "c")+masked("a", "b")))
	w.has("web", "a=2", "b=2")
	w.told("web", "True")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the release took %s with a member gone, which it did not concern", took)
	}
	w.eventually(func() error {
		if e := w.entry("web", "c"); e["status"] != "ClusterNotReady" {
			return fmt.Errorf("status of c is %v, want ClusterNotReady", e)
		}
		return nil
	})

	lost.Start(t)
	w.awaitReady(tower, "True")
	w.keeps("web", 3*time.Second, "c=1")
	if e := w.entry("web", "c"); e["held"] != true || e["status"] != nil {
		t.Errorf("status of c is %v, want held and nothing wrong", e)
	}
	w.apply(w.config("web", "2", placed("a", "b", "c")))
	w.has("web", "c=2")
	w.told("web", "True")
}

func TestAMemberThatAcceptsAndNeverAnswersDelaysNobody(t *testing.T) {
	w := newTenant(t, "member-hangs", "a "+east, "b "+west, "c "+tower)
	for i := range 20 {
		w.apply(w.config(fmt.Sprintf("web-%d", i), "1", placed("a", "b", "c")))
	}
	for i := range 20 {
		w.has(fmt.Sprintf("web-%d", i), "a=1", "b=1", "c=1")
	}
	frozen := world.members.Named(tower)
	frozen.Pause(t)
	defer func() {
		if err := frozen.Do(t.Context(), playground.ActionResume); err != nil {
			t.Error(err)
		}
		w.awaitReady(tower, "True")
	}()
	began := time.Now()
	manifest := ""
	for i := range 20 {
		manifest += "---\n" + w.config(fmt.Sprintf("web-%d", i), "2", placed("a", "b", "c"))
	}
	w.apply(manifest)
	for i := range 20 {
		w.has(fmt.Sprintf("web-%d", i), "a=2", "b=2")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("20 releases took %s with a member that hangs", took)
	}
	u := w.told("web-0", "False")
	if e := w.entry("web-0", "c"); e["status"] == nil {
		t.Errorf("status does not tell what is wrong with c: %v", u.Object["status"])
	}
	if err := frozen.Do(t.Context(), playground.ActionResume); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		w.has(fmt.Sprintf("web-%d", i), "c=2")
	}
	w.told("web-0", "True")
}

func TestDriftInAMemberIsRepaired(t *testing.T) {
	w := newTenant(t, "drift", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	began := time.Now()
	w.editCopy("a", "web", `{"data":{"version":"edited","added":"x"}}`)
	w.has("web", "a=1")
	if _, there, _ := unstructured.NestedString(w.copyIn("a", "web").Object, "data", "added"); there {
		t.Error("a key that somebody added in the member is still there")
	}
	w.deleteCopy("a", "web")
	w.has("web", "a=1")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("two repairs took %s", took)
	}
	for _, cut := range []string{`{"metadata":{"annotations":{"cellfed.io/owner":null}}}`, `{"metadata":{"labels":{"kubefed.io/managed":null}}}`} {
		w.editCopy("a", "web", cut)
		w.eventually(func() error {
			u := w.copyIn("a", "web")
			if u.GetLabels()["kubefed.io/managed"] != "true" || u.GetAnnotations()["cellfed.io/owner"] == "" {
				return fmt.Errorf("after %s the marks are %v %v", cut, u.GetLabels(), u.GetAnnotations())
			}
			return nil
		})
	}
}

func TestUnitsThatShareAMemberNeverTouchEachOther(t *testing.T) {
	w := newTenant(t, "share", "a "+east+" share-a", "b "+east+" share-b")
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.apply(w.config("web", "1", placed("b")))
	w.has("web", "a=", "b=1")
	w.keeps("web", time.Second, "b=1")
}

func TestAnObjectThatThePlaneDidNotMakeIsNeitherOverwrittenNorDeleted(t *testing.T) {
	w := newTenant(t, "foreign", "a "+east)
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": w.ns}}}
	if _, err := world.inside[east].Resource(namespaces).Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "web", "namespace": w.ns}, "data": map[string]any{"version": "theirs"}}}
	if _, err := world.inside[east].Resource(configMaps).Namespace(w.ns).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.apply(w.config("web", "1", placed("a")))
	w.eventually(func() error { // it is Pending until the member has answered
		if e := w.entry("web", "a"); e["status"] != "AlreadyExists" {
			return fmt.Errorf("status of a is %v, want AlreadyExists", e)
		}
		return nil
	})
	w.keeps("web", time.Second, "a=theirs")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.keeps("web", time.Second, "a=theirs")

	w.apply(w.config("web", "1", placed("a")))
	w.told("web", "False")
	w.kubectl("annotate", "federatedconfigmap/web", "-n", w.ns, "cellfed.io/adopt=true")
	w.has("web", "a=1")
	w.told("web", "True")
}

func TestASelectorAdmitsANewUnitAndAnEventTells(t *testing.T) {
	w := newTenant(t, "selector")
	w.apply(w.unit("a " + east))
	w.kubectl("label", "units/a", "-n", w.ns, "city=hangzhou")
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=30s")
	w.apply(w.config("web", "1", "  placement: {topologySelector: {matchLabels: {city: hangzhou}}}\n"))
	w.has("web", "a=1")
	w.told("web", "True")
	w.apply(w.unit("b " + west))
	w.kubectl("label", "units/b", "-n", w.ns, "city=hangzhou")
	w.has("web", "a=1", "b=1")
	w.eventually(func() error {
		out := w.kubectl("get", "events", "-n", w.ns, "-o", "jsonpath={.items[*].reason}")
		if !contains(out, "UnitAdmitted") {
			return fmt.Errorf("events are %q, want UnitAdmitted among them", out)
		}
		return nil
	})
}

func TestAUnitThatHoldsCopiesCannotVanish(t *testing.T) {
	w := newTenant(t, "vanish", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.kubectl("delete", "unit/a", "-n", w.ns, "--wait=false")
	w.keeps("web", 2*time.Second, "a=1", "b=1")
	w.apply(w.config("web", "1", placed("b")))
	w.has("web", "a=", "b=1")
	w.kubectl("wait", "--for=delete", "unit/a", "-n", w.ns, "--timeout=20s")
}

func TestNothingIsWrittenWhileNothingChanges(t *testing.T) {
	w := newTenant(t, "idle", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.told("web", "True")
	before := quiet(w)
	version := w.get("web").GetResourceVersion()
	time.Sleep(10 * time.Second)
	if after := writes(t); after != before {
		for _, line := range lastWrites(t, after-before) {
			t.Log(line)
		}
		t.Errorf("%d writes reached the members while nothing changed", after-before)
	}
	if now := w.get("web").GetResourceVersion(); now != version {
		t.Errorf("the object was written while nothing changed: resourceVersion %s → %s", version, now)
	}
}

// quiet waits until the members have had no write for a while (other tests' clean-up may still go on), and returns how
// many they had so far.
func quiet(w *tenant) int {
	w.Helper()
	const calm = 7 * time.Second // the namespace controller waits 5 s before it begins
	n, since := writes(w.T), time.Now()
	for deadline := time.Now().Add(time.Minute); time.Since(since) < calm; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal("the members are never left alone")
		}
		if now := writes(w.T); now != n {
			n, since = now, time.Now()
		}
	}
	return n
}
