package e2e

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func TestAStormOfNewsFromAMemberCostsAFewWritesAndItsLastWordIsTold(t *testing.T) {
	w := newTenant(t, "status-storm", "a "+east)
	w.apply(fmt.Sprintf("apiVersion: types.kubefed.io/v2beta1\nkind: FederatedDeployment\nmetadata: {namespace: %s, name: web}\nspec:\n  topologyType: cell\n%s",
		w.ns, deploymentSpec("web:1", placed("a"))))
	w.kubectl("wait", "--for=condition=Propagation", "fdeploy/web", "-n", w.ns, "--timeout=20s")
	inside := world.inside[east].Resource(deployments).Namespace(w.ns)
	patch := func(n int) { // a condition that the member's own controller leaves alone
		body := fmt.Sprintf(`{"status":{"conditions":[{"type":"Storm","status":"True","message":"%d"}]}}`, n)
		if _, err := inside.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	lastWord := func(u *unstructured.Unstructured) string {
		list, _, _ := unstructured.NestedSlice(u.Object, "status", "topologies")
		if len(list) == 0 {
			return ""
		}
		remote := &unstructured.Unstructured{Object: map[string]any{"status": list[0].(map[string]any)["remoteStatus"]}}
		message, _ := conditionOf(remote, "Storm")["message"].(string)
		return message
	}
	watcher, err := world.client.Resource(fedDeployment).Namespace(w.ns).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	var writes atomic.Int64
	var last atomic.Value
	go func() {
		for e := range watcher.ResultChan() {
			if u, ok := e.Object.(*unstructured.Unstructured); ok {
				writes.Add(1)
				last.Store(lastWord(u))
			}
		}
	}()
	told := func(n int) {
		t.Helper()
		w.eventually(func() error {
			if got := last.Load(); got != fmt.Sprint(n) {
				return fmt.Errorf("status has word %v, want %d", got, n)
			}
			return nil
		})
	}
	patch(0)
	told(0)
	time.Sleep(time.Second) // until nothing of the rollout is news any more
	before, began := writes.Load(), time.Now()
	const storm = 150
	for n := 1; n <= storm; n++ {
		patch(n)
	}
	told(storm)
	took := time.Since(began)
	if n, most := writes.Load()-before, int64(took/(380*time.Millisecond))+3; n > most || n < 1 {
		t.Errorf("%d changes in %s made %d writes of the federated object, want at most %d", storm, took.Round(time.Millisecond), n, most)
	}
	settled := writes.Load()
	time.Sleep(2 * time.Second)
	if n := writes.Load() - settled; n > 0 {
		t.Errorf("%d writes afterwards, with nothing changing", n)
	}
}

func TestAReleaseIsNotDelayedByNewsThatWait(t *testing.T) {
	w := newTenant(t, "status-urgent", "a "+east)
	w.apply(w.config("web", "1", placed("a")))
	w.told("web", "True")
	for n := 2; n < 8; n++ { // each soon after the status write of the one before
		began := time.Now()
		w.apply(w.config("web", fmt.Sprint(n), placed("a")))
		u := w.told("web", "True")
		if e := w.entry("web", "a"); e["healthyRevision"] != e["revision"] || conditionOf(u, "Healthy")["observedGeneration"] != u.GetGeneration() {
			t.Errorf("after %s generation %d is told of without its health: %v", time.Since(began).Round(time.Millisecond), u.GetGeneration(), e)
		}
	}
}
