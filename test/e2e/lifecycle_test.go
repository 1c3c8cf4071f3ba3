package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/playground"
)

var (
	claims          = schema.GroupVersionResource{Group: "topology.cellfed.io", Version: "v1alpha1", Resource: "membernamespaceclaims"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	roleBindings    = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// named are the objects of a kind on the plane whose name holds a word.
func (w *tenant) named(gvr schema.GroupVersionResource, namespace, word string) []string {
	w.Helper()
	list, err := world.client.Resource(gvr).Namespace(namespace).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for i := range list.Items {
		if strings.Contains(list.Items[i].GetName(), word) {
			out = append(out, list.Items[i].GetName())
		}
	}
	return out
}

// claimed are the tenant's claims.
func (w *tenant) claimed() []string {
	w.Helper()
	list, err := world.client.Resource(claims).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for i := range list.Items {
		if ns, _, _ := unstructured.NestedString(list.Items[i].Object, "spec", "unit", "namespace"); ns == w.ns {
			out = append(out, list.Items[i].GetName())
		}
	}
	return out
}

func TestANamespaceEndsWithAllThatIsInItAndInMembers(t *testing.T) {
	w := newTenant(t, "life-namespace", "a "+east+" life-namespace-a", "b "+east+" life-namespace-b", "c "+west)
	for _, name := range []string{"one", "two", "three"} {
		w.apply(w.config(name, "1", placed("a", "b", "c")))
		w.has(name, "a=1", "b=1", "c=1")
	}
	if n := len(w.claimed()); n != 3 {
		t.Errorf("%d claims, want 3", n)
	}
	began := time.Now()
	w.kubectl("delete", "namespace", w.ns, "--timeout=30s")
	t.Logf("the namespace ended within %s", time.Since(began).Round(10*time.Millisecond))
	for _, name := range []string{"one", "two", "three"} {
		if err := w.mismatch(name, []string{"a=", "b=", "c="}); err != nil {
			t.Error(err)
		}
	}
	if left := w.named(kubeFedClusters, "cellfed-units", "."+w.ns+"."); len(left) > 0 {
		t.Errorf("KubeFedClusters of units are left: %v", left)
	}
	if left := w.claimed(); len(left) > 0 {
		t.Errorf("claims are left: %v", left)
	}
}

// TestWhileAMemberIsAway has, with one member stopped, all that must go on elsewhere and be made good when it returns.
func TestWhileAMemberIsAwayNothingIsLostAndNobodyWaits(t *testing.T) {
	w := newTenant(t, "life-away", "a "+east, "b "+tower)
	doomed := newTenant(t, "life-away-doomed", "a "+east, "b "+tower)
	for _, name := range []string{"deleted", "shrunk"} {
		w.apply(w.config(name, "1", placed("a", "b")))
		w.has(name, "a=1", "b=1")
		w.told(name, "True")
	}
	doomed.apply(doomed.config("web", "1", placed("a", "b")))
	doomed.has("web", "a=1", "b=1")
	doomed.told("web", "True")

	lost := world.members.Named(tower)
	lost.Stop(t)
	back := false
	start := func() {
		if !back {
			back = true
			if err := lost.Do(context.WithoutCancel(t.Context()), playground.ActionStart); err != nil {
				t.Error(err)
			}
		}
	}
	defer start()
	w.within(soon, "cleaning the living members", func() {
		w.kubectl("delete", "federatedconfigmap/deleted", "-n", w.ns, "--wait=false")
		w.eventually(func() error { return w.mismatchIn("a", "deleted", "") })
	})
	w.apply(w.config("shrunk", "1", placed("a")))
	doomed.kubectl("delete", "namespace", doomed.ns, "--wait=false")
	doomed.eventually(func() error { return doomed.mismatchIn("a", "web", "") })
	for _, name := range []string{"deleted", "shrunk"} {
		w.eventually(func() error {
			e := w.entry(name, "b")
			if message, _ := e["message"].(string); e["status"] != "ClusterNotReady" || !strings.Contains(message, tower) {
				return fmt.Errorf("status of %s in b is %v, want ClusterNotReady and the member's name", name, e)
			}
			if e := w.entry(name, "a"); name == "deleted" && e != nil {
				return fmt.Errorf("status still has %v, where nothing is left", e)
			}
			return nil
		})
	}
	// The unit of the member that is away cannot go before its copies have.
	time.Sleep(time.Second)
	for _, ns := range []string{w.ns, doomed.ns} {
		if _, err := world.client.Resource(units).Namespace(ns).Get(t.Context(), "b", metav1.GetOptions{}); err != nil {
			t.Errorf("unit b of %s: %v", ns, err)
		}
	}
	if u := w.get("deleted"); u.GetDeletionTimestamp() == nil {
		t.Error("the object is not being deleted")
	}

	start()
	w.awaitReady(tower, "True")
	w.within(5*time.Second, "making good after the member's return", func() { w.has("shrunk", "b=") })
	w.has("deleted", "b=")
	w.told("shrunk", "True")
	w.kubectl("wait", "--for=delete", "federatedconfigmap/deleted", "-n", w.ns, "--timeout=10s")
	doomed.kubectl("wait", "--for=delete", "namespace/"+doomed.ns, "--timeout=30s")
	if err := doomed.mismatch("web", []string{"a=", "b="}); err != nil {
		t.Error(err)
	}
}

// mismatchIn compares one unit's copy, and asks no other member.
func (w *tenant) mismatchIn(unit, name, version string) error {
	w.Helper()
	if got := w.version(unit, name); got != version {
		return fmt.Errorf("%s has version %q of %s, want %q", unit, got, name, version)
	}
	return nil
}

func TestAnObjectThatIsOrphanedLeavesItsCopiesWithoutMarks(t *testing.T) {
	w := newTenant(t, "life-orphan", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.kubectl("annotate", "federatedconfigmap/web", "-n", w.ns, "kubefed.io/orphan=true")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.keeps("web", time.Second, "a=1", "b=1")
	for _, unit := range []string{"a", "b"} {
		u := w.copyIn(unit, "web")
		for key := range u.GetLabels() {
			t.Errorf("the copy in %s still has label %s", unit, key)
		}
		for key := range u.GetAnnotations() {
			t.Errorf("the copy in %s still has annotation %s", unit, key)
		}
	}
	// What was left behind is nobody's: the same object made again does not take it without being asked.
	w.apply(w.config("web", "2", placed("a", "b")))
	w.told("web", "False")
	w.keeps("web", time.Second, "a=1", "b=1")
}

func TestAnotherObjectOfTheSameNameDoesNotInheritCopies(t *testing.T) {
	w := newTenant(t, "life-again", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.has("web", "a=1")
	w.told("web", "True")
	// A copy outlives its object, as when somebody restores a member from a backup: it has the marks of an object that
	// is no more.
	old := w.copyIn("a", "web")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.has("web", "a=")
	old.SetUID("")
	old.SetResourceVersion("")
	if _, err := world.inside[east].Resource(configMaps).Namespace(w.ns).Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.keeps("web", time.Second, "a=1")

	w.apply(w.config("web", "2", placed("a")))
	w.told("web", "False")
	if e := w.entry("web", "a"); e["status"] != "AlreadyExists" {
		t.Errorf("status of a is %v, want AlreadyExists", e)
	}
	w.keeps("web", time.Second, "a=1")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.keeps("web", time.Second, "a=1")
	w.apply(w.config("web", "3", placed("a")))
	w.kubectl("annotate", "federatedconfigmap/web", "-n", w.ns, "cellfed.io/adopt=true")
	w.has("web", "a=3")
	w.told("web", "True")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.has("web", "a=")
}

// unitReason is why a unit is ready or not.
func (w *tenant) unitReason(name string) string {
	w.Helper()
	u, err := world.client.Resource(units).Namespace(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	reason, _ := conditionOf(u, "Ready")["reason"].(string)
	return reason
}

func TestAUnitWhoseNamespaceIsClaimedByAnotherIsNotWritten(t *testing.T) {
	// Admission refuses a unit whose namespace is claimed already. One that was there first loses its claim only while
	// its member is not there: then another may be faster.
	shaky := second(t, "shaky", east)
	shaky.federate(t)
	w := newTenant(t, "life-claim", "victim shaky life-claim-ns", "thief "+east+" life-claim-other")
	w.at["victim"] = [2]string{east, "life-claim-ns"}
	mine := func() *unstructured.Unstructured {
		for _, name := range w.claimed() {
			u, err := world.client.Resource(claims).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if ns, _, _ := unstructured.NestedString(u.Object, "spec", "memberNamespace"); ns == "life-claim-ns" {
				return u
			}
		}
		return nil
	}
	await := func(reason string) {
		t.Helper()
		w.eventually(func() error {
			if got := w.unitReason("victim"); got != reason {
				return fmt.Errorf("the unit is %s, want %s", got, reason)
			}
			return nil
		})
	}
	if err := shaky.remove(t.Context(), world.client); err != nil {
		t.Fatal(err)
	}
	await("UnknownMember")
	claim := mine()
	if err := world.client.Resource(claims).Delete(t.Context(), claim.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	thief, err := world.client.Resource(units).Namespace(w.ns).Get(t.Context(), "thief", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stolen := &unstructured.Unstructured{Object: map[string]any{"apiVersion": claim.GetAPIVersion(), "kind": claim.GetKind(),
		"metadata": map[string]any{"name": claim.GetName()}, "spec": claim.Object["spec"]}}
	for key, value := range map[string]string{"name": "thief", "uid": string(thief.GetUID())} {
		if err := unstructured.SetNestedField(stolen.Object, value, "spec", "unit", key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := world.client.Resource(claims).Create(t.Context(), stolen, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shaky.create(t.Context(), world.client); err != nil {
		t.Fatal(err)
	}
	await("ClaimedByOther")
	w.apply(w.config("web", "1", placed("victim")))
	w.told("web", "False")
	if e := w.entry("web", "victim"); e["status"] != "UnitNotReady" || !strings.Contains(fmt.Sprint(e["message"]), "ClaimedByOther") {
		t.Errorf("status of the unit is %v, want UnitNotReady because of ClaimedByOther", e)
	}
	w.keeps("web", 2*time.Second, "victim=")
	if err := world.client.Resource(claims).Delete(t.Context(), claim.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.within(soon, "taking a claim that became free", func() { w.has("web", "victim=1") })
	w.told("web", "True")
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.kubectl("delete", "units", "--all", "-n", w.ns, "--timeout=20s")
}

func TestTwoUnitsAtOnceCannotHaveTheSameNamespace(t *testing.T) {
	w := newTenant(t, "life-race")
	const rivals = 8
	refused := make(chan error, rivals)
	for i := range rivals {
		u := decode(t, fmt.Sprintf("apiVersion: topology.cellfed.io/v1alpha1\nkind: Unit\nmetadata: {name: u%d, namespace: life-race}\nspec: {cluster: %s, memberNamespace: life-race-ns}", i, east))
		go func() {
			_, err := world.client.Resource(units).Namespace(w.ns).Create(t.Context(), u, metav1.CreateOptions{})
			refused <- err
		}()
	}
	let := rivals
	for range rivals {
		if err := <-refused; err != nil {
			let--
			if !strings.Contains(err.Error(), "belongs to another unit") {
				t.Error(err)
			}
		}
	}
	t.Logf("the door let in %d of %d", let, rivals)
	w.eventually(func() error {
		list, err := world.client.Resource(units).Namespace(w.ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		count := map[any]int{}
		for i := range list.Items {
			count[conditionOf(&list.Items[i], "Ready")["reason"]]++
		}
		if count["Ready"] != 1 || count["ClaimedByOther"] != let-1 {
			return fmt.Errorf("the units are %v, want one of %d ready", count, let)
		}
		return nil
	})
}

// cellfed runs the plugin.
func (w *tenant) cellfed(args ...string) (string, error) {
	w.Helper()
	return kubectl(w.Context(), "", append([]string{"cellfed"}, args...)...)
}

func TestAMemberLeavesAndLeavesNothingAndJoinsAgain(t *testing.T) {
	w := newTenant(t, "life-join", "a "+tower)
	m := world.members.Named(tower)
	get := func() *unstructured.Unstructured {
		u, err := world.client.Resource(kubeFedClusters).Namespace(federation).Get(t.Context(), tower, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	before := get()
	out, err := w.cellfed("join", tower, "--member-kubeconfig", m.Kubeconfig)
	if err != nil || strings.Contains(out, " created") || strings.Contains(out, " updated") {
		t.Errorf("joining once more should change nothing: %v\n%s", err, out)
	}
	if after := get(); after.GetResourceVersion() != before.GetResourceVersion() || after.GetUID() != before.GetUID() {
		t.Errorf("joining once more wrote the KubeFedCluster: resourceVersion %s → %s", before.GetResourceVersion(), after.GetResourceVersion())
	}
	out, err = w.cellfed("unjoin", tower, "--member-kubeconfig", m.Kubeconfig)
	if err == nil || !strings.Contains(out, "unit a in namespace life-join") {
		t.Fatalf("unjoin should refuse and name the unit: %v\n%s", err, out)
	}
	w.kubectl("delete", "unit/a", "-n", w.ns, "--timeout=20s")
	// Earlier tests' namespaces may still be on their way out.
	w.eventually(func() error {
		out, err = w.cellfed("unjoin", tower, "--member-kubeconfig", m.Kubeconfig)
		if err != nil && !strings.Contains(out, "is in use") {
			t.Fatalf("unjoin: %v\n%s", err, out)
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	defer func() { // whatever came of it, the others want their member back
		if out, err := kubectl(context.WithoutCancel(t.Context()), "", "cellfed", "join", tower, "--member-kubeconfig", m.Kubeconfig); err != nil {
			t.Errorf("joining again: %v\n%s", err, out)
		}
		w.awaitReady(tower, "True")
	}()
	for _, where := range []struct {
		gvr       schema.GroupVersionResource
		namespace string
	}{{kubeFedClusters, federation}, {secrets, federation}, {kubeFedClusters, "cellfed-units"}, {secrets, "cellfed-units"}} {
		if left := w.named(where.gvr, where.namespace, tower); len(left) > 0 {
			t.Errorf("unjoin left %s %v in %s", where.gvr.Resource, left, where.namespace)
		}
	}
	for _, gvr := range []schema.GroupVersionResource{serviceAccounts, secrets, roleBindings} {
		list, err := world.inside[tower].Resource(gvr).List(t.Context(), metav1.ListOptions{LabelSelector: "cellfed.io/joined-as=" + tower})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			t.Errorf("unjoin left %s %s in the member", gvr.Resource, list.Items[i].GetName())
		}
	}
	if out, err := w.cellfed("unjoin", tower); err == nil {
		t.Errorf("unjoin of what is no member should say so:\n%s", out)
	}
}

// setToken replaces the token of a member that the test made.
func (w *tenant) setToken(member, token string) {
	w.Helper()
	body, err := json.Marshal(map[string]any{"data": map[string]any{"token": base64.StdEncoding.EncodeToString([]byte(token))}})
	if err != nil {
		w.Fatal(err)
	}
	if _, err := world.client.Resource(secrets).Namespace(federation).Patch(w.Context(), "raw-"+member, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		w.Fatal(err)
	}
}

// boundToken is a token that dies with a secret in the member, as one does that expires.
func boundToken(t *testing.T, member string) (token string, revoke func()) {
	t.Helper()
	inside := world.inside[member]
	list, err := inside.Resource(serviceAccounts).Namespace(federation).List(t.Context(), metav1.ListOptions{LabelSelector: "cellfed.io/joined-as=" + member})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("looking for the plane's account in %s: %v, %d found", member, err, len(list.Items))
	}
	binding := decode(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: life-token, namespace: "+federation+"}")
	binding, err = inside.Resource(secrets).Namespace(federation).Create(t.Context(), binding, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{
		"boundObjectRef": map[string]any{"apiVersion": "v1", "kind": "Secret", "name": binding.GetName(), "uid": string(binding.GetUID())}}}}
	request.SetName(list.Items[0].GetName())
	issued, err := inside.Resource(serviceAccounts).Namespace(federation).Create(t.Context(), request, metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	token, _, _ = unstructured.NestedString(issued.Object, "status", "token")
	return token, func() {
		err := inside.Resource(secrets).Namespace(federation).Delete(context.WithoutCancel(t.Context()), binding.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
}

func TestAMemberWhoseTokenWasReplacedComesBackByItself(t *testing.T) {
	token, revoke := boundToken(t, east)
	defer revoke()
	m := world.members.Named(east)
	rawMember{name: "turncoat", endpoint: m.Config.Host, ca: m.Config.CAData, secret: map[string]string{"token": token}}.federate(t)
	w := newTenant(t, "life-token", "a turncoat life-token-a", "b "+west)
	w.at["a"] = [2]string{east, "life-token-a"}
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.told("web", "True")

	revoke()
	began := time.Now()
	w.awaitReady("turncoat", "False")
	t.Logf("a token that stopped being good was noticed after %s", time.Since(began).Round(10*time.Millisecond))
	w.apply(w.config("web", "2", placed("a", "b")))
	w.within(soon, "a release to the other member", func() { w.has("web", "b=2") })
	w.told("web", "False")
	w.keeps("web", 300*time.Millisecond, "a=1")
	if e := w.entry("web", "a"); e["status"] != "ClusterNotReady" || !strings.Contains(fmt.Sprint(e["message"]), "expired") {
		t.Errorf("status of a is %v, want ClusterNotReady and a word on credentials", e)
	}
	w.setToken("turncoat", memberToken(t, east))
	w.within(soon, "coming back with a good token", func() { w.has("web", "a=2") })
	w.told("web", "True")

	w.setToken("turncoat", "garbage")
	w.awaitReady("turncoat", "False")
	w.setToken("turncoat", memberToken(t, east))
	w.within(soon, "coming back once more", func() { w.awaitReady("turncoat", "True") })
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.kubectl("delete", "units", "--all", "-n", w.ns, "--timeout=20s")
}
