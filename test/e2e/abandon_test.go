package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/test/harness"
)

var abandonments = schema.GroupVersionResource{Group: "topology.cellfed.io", Version: "v1alpha1", Resource: "abandonments"}

// newOwnPlane is a lone plane that looks after its members as often as the shared one.
func newOwnPlane(t *testing.T, members ...string) *lonePlane {
	t.Helper()
	p := &lonePlane{T: t, Plane: harness.RunPlane(t, harness.PlaneOptions{Config: configuration})}
	p.connect()
	for _, m := range members {
		p.must(second(t, m, m).create(t.Context(), p.client))
	}
	p.create(typeConfigResource, federation, decode(t, strings.Split(typeConfigs, "---\n")[0]))
	for _, m := range members {
		p.awaitMember(m, "True")
	}
	p.eventually(func() error {
		_, err := p.client.Resource(fedConfigMap).List(p.Context(), metav1.ListOptions{})
		return err
	})
	return p
}

// kubectl runs kubectl on this plane, with the plugin on its path.
func (p *lonePlane) kubectl(args ...string) (string, error) {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), filepath.Join(world.bin, "tools", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.Kubeconfig, "PATH="+world.bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *lonePlane) mustKubectl(args ...string) string {
	p.Helper()
	out, err := p.kubectl(args...)
	if err != nil {
		p.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// all does something for objects web-0 to web-(n-1) of a herd, some at a time.
func (h *herd) all(n int, do func(name string) error) {
	h.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	room := make(chan struct{}, 8)
	for i := range n {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if err := do(fmt.Sprintf("web-%d", i)); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	h.must(errors.Join(errs...))
}

func (h *herd) delete(name string) error {
	return h.objects().Delete(h.Context(), name, metav1.DeleteOptions{})
}

// entryOf is a unit's entry in an object's status.
func entryOf(u *unstructured.Unstructured, unit string) map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "topologies")
	for _, e := range list {
		if m := e.(map[string]any); m["name"] == unit {
			return m
		}
	}
	return nil
}

// away stops a member until the test ends, or until the returned function brings it back.
func away(t *testing.T, name string) (back func()) {
	t.Helper()
	m := world.members.Named(name)
	m.Stop(t)
	var once sync.Once
	back = func() {
		once.Do(func() {
			if err := m.Do(context.WithoutCancel(t.Context()), playground.ActionStart); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(back)
	return back
}

// cpu is how long the plane's process has worked so far; 0 where that cannot be told.
func (p *lonePlane) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0
	}
	const ticks = 10 * time.Millisecond
	f := strings.Fields(string(stat))
	var user, system int64
	if _, err := fmt.Sscan(f[13]+" "+f[14], &user, &system); err != nil {
		return 0
	}
	return time.Duration(user+system) * ticks
}

// abandonment is the one record of a plane.
func (p *lonePlane) abandonment() *unstructured.Unstructured {
	p.Helper()
	list, err := p.client.Resource(abandonments).List(p.Context(), metav1.ListOptions{})
	p.must(err)
	if len(list.Items) != 1 {
		p.Fatalf("%d abandonments, want 1", len(list.Items))
	}
	return &list.Items[0]
}

// left waits until the record tells of so many leftovers.
func (p *lonePlane) left(want int64) {
	p.Helper()
	p.eventually(func() error {
		a := p.abandonment()
		n, _, _ := unstructured.NestedInt64(a.Object, "status", "leftoverCount")
		if c := conditionOf(a, "Leftovers"); n != want || c["status"] == "Unknown" {
			return fmt.Errorf("%d leftovers are told, want %d: %v", n, want, c)
		}
		return nil
	})
}

// TestAMemberThatIsGivenUp follows a member from its death to its return.
func TestAMemberThatIsGivenUpHoldsNobodyAndKeepsWhatIsLeftInIt(t *testing.T) {
	const many = 200
	p := newOwnPlane(t, east, tower)
	h := p.newHerd(t, "abandon-herd", "a "+east, "c "+tower)
	doomed := p.newHerd(t, "abandon-doomed", "a "+east, "c "+tower)
	both := wish{1, "*", "ac"}
	began := time.Now()
	h.all(many, func(name string) error { return h.make(h.Context(), name, both) })
	h.must(h.make(h.Context(), "kept", both))
	doomed.must(doomed.make(h.Context(), "web", both))
	for deadline := time.Now().Add(time.Minute); len(h.copies("c")) < many+1; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d copies of %d after a minute", len(h.copies("c")), many+1)
		}
	}
	h.settled()
	doomed.settled()
	limit := 5 * time.Second
	if took := time.Since(began); took > limit {
		limit = 3 * took // the machine is busy with something else, and tells little about time
	}
	back := away(t, tower)
	p.awaitMember(tower, "False")

	h.all(many, h.delete)
	p.must(p.client.Resource(namespaces).Delete(t.Context(), doomed.ns, metav1.DeleteOptions{}))
	h.eventually(func() error { // the living are cleaned at once
		if n := len(h.copies("a")) + len(doomed.copies("a")); n != 1 {
			return fmt.Errorf("%d copies are left in the living member, want 1", n)
		}
		return nil
	})
	h.eventually(func() error {
		u := h.stored()["web-0"]
		if u == nil {
			return errors.New("the object went while a member that may hold a copy is away")
		}
		c, e := conditionOf(u, "Propagation"), entryOf(u, "c")
		if c["reason"] != "Deleting" || !strings.Contains(fmt.Sprint(c["message"]), "c."+h.ns) || e["status"] != "ClusterNotReady" || !strings.Contains(fmt.Sprint(e["message"]), tower) {
			return fmt.Errorf("status does not name the dead: %v %v", c, e)
		}
		return nil
	})
	if out, err := p.kubectl("cellfed", "abandon", tower); err == nil || !strings.Contains(out, "nobody said yes") {
		t.Errorf("a member was given up without a yes: %v\n%s", err, out)
	}

	began = time.Now()
	cpu := p.cpu()
	out := p.mustKubectl("cellfed", "abandon", tower, "--yes", "--reason", "flooded")
	t.Logf("%d deletions ended %s after the member was given up, for which the plane worked %s:\n%s", many,
		time.Since(began).Round(10*time.Millisecond), p.cpu()-cpu, out)
	if took := time.Since(began); took > limit {
		t.Errorf("it took %s, want no more than %s", took, limit)
	}
	if stored := h.stored(); len(stored) != 1 {
		t.Errorf("%d objects are left, want the one that was not deleted", len(stored))
	}
	p.eventually(func() error {
		if _, err := p.client.Resource(namespaces).Get(t.Context(), doomed.ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the namespace with a unit on the dead member is still there: %w", err)
		}
		return nil
	})
	h.eventually(func() error {
		if e := entryOf(h.stored()["kept"], "c"); e["status"] != "Abandoned" || e["inventory"] != true || !strings.Contains(fmt.Sprint(e["message"]), "flooded") {
			return fmt.Errorf("the object that stays is told %v, want Abandoned, why, and its record kept", e)
		}
		return nil
	})
	// A unit on a member that was given up may go, and be made anew elsewhere.
	p.mustKubectl("delete", "unit/c", "-n", h.ns, "--timeout=10s")
	h.create(units, h.ns, decode(t, "apiVersion: topology.cellfed.io/v1alpha1\nkind: Unit\nmetadata: {name: c, namespace: "+h.ns+"}\nspec: {cluster: "+east+", memberNamespace: abandon-herd-c}"))
	h.eventually(func() error {
		_, err := world.inside[east].Resource(configMaps).Namespace("abandon-herd-c").Get(t.Context(), "kept", metav1.GetOptions{})
		return err
	})

	back()
	p.awaitMember(tower, "True")
	p.left(many + 2)
	if n := len(h.copies("c")); n != many+1 {
		t.Errorf("%d of %d leftovers are left in the member", n, many+1)
	}
	if out := p.mustKubectl("cellfed", "abandon", "--list"); !strings.Contains(out, "flooded") || !strings.Contains(out, "configmaps abandon-herd/") || !strings.Contains(out, "and 102 more") {
		t.Errorf("the list does not tell what is left:\n%s", out)
	}
	p.eventually(func() error {
		u, err := p.client.Resource(kubeFedClusters).Namespace(federation).Get(t.Context(), tower, metav1.GetOptions{})
		if c := conditionOf(u, "Leftovers"); err != nil || c["status"] != "True" {
			return fmt.Errorf("the member says of leftovers %v: %w", c, err)
		}
		return nil
	})
	// Taken back, nothing that was left is deleted either.
	p.mustKubectl("cellfed", "abandon", tower, "--undo")
	time.Sleep(2 * time.Second)
	if n := len(h.copies("c")); n != many+1 {
		t.Errorf("%d of %d leftovers are left after the member was taken back", n, many+1)
	}
	clear := world.inside[tower].Resource(configMaps)
	for _, ns := range []string{h.ns, doomed.ns} {
		p.must(clear.Namespace(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "kubefed.io/managed=true"}))
	}
}

func TestAnAbandonmentSurvivesAPlaneThatIsKilledInTheMiddle(t *testing.T) {
	const many = 100
	p := newOwnPlane(t, east, tower)
	h := p.newHerd(t, "abandon-crash", "a "+east, "c "+tower)
	h.all(many, func(name string) error { return h.make(h.Context(), name, wish{1, "*", "ac"}) })
	h.eventually(func() error {
		if n := len(h.copies("c")) + len(h.copies("a")); n != 2*many {
			return fmt.Errorf("%d copies of %d", n, 2*many)
		}
		return nil
	})
	h.settled()
	back := away(t, tower)
	p.awaitMember(tower, "False")
	h.all(many, h.delete)
	h.eventually(func() error {
		if n := len(h.copies("a")); n != 0 {
			return fmt.Errorf("%d copies are left in the living member", n)
		}
		return nil
	})
	p.create(abandonments, "", decode(t, "apiVersion: topology.cellfed.io/v1alpha1\nkind: Abandonment\nmetadata: {name: flood}\nspec: {cluster: "+tower+"}"))
	for n := many; n > many-5; { // as soon as some have ended
		n = len(h.stored())
	}
	p.must(p.Kill())
	h.again()
	t.Logf("killed in the middle; %d of %d objects were left when the plane was there again", len(h.stored()), many)
	h.eventually(func() error {
		if n := len(h.stored()); n > 0 {
			return fmt.Errorf("%d objects are still there", n)
		}
		return nil
	})
	back()
	h.lonePlane.client, p.client = h.client, h.client
	p.awaitMember(tower, "True")
	p.left(many)
	h.must(p.Kill()) // what was found is found again
	h.again()
	p.client = h.client
	p.awaitMember(tower, "True")
	p.left(many)
	if n := len(h.copies("c")); n != many {
		t.Errorf("%d of %d leftovers are left in the member", n, many)
	}
	p.must(world.inside[tower].Resource(configMaps).Namespace(h.ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "kubefed.io/managed=true"}))
	p.mustKubectl("cellfed", "abandon", tower, "--undo")
}

func TestADeletionWithAMemberThatHangsCleansTheLivingAndNamesTheDead(t *testing.T) {
	p := newOwnPlane(t, east, tower)
	h := p.newHerd(t, "abandon-hang", "a "+east, "c "+tower)
	h.must(h.make(h.Context(), "web", wish{1, "*", "ac"}))
	h.settled()
	frozen := world.members.Named(tower)
	frozen.Pause(t)
	thaw := sync.OnceFunc(func() {
		if err := frozen.Do(context.WithoutCancel(t.Context()), playground.ActionResume); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(thaw)
	began := time.Now()
	h.must(h.delete("web"))
	gone := func() error {
		if n := len(h.copies("a")); n != 0 {
			return fmt.Errorf("%d copies are left in the living member", n)
		}
		return nil
	}
	h.eventually(gone)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the living member was cleaned after %s", took)
	}
	named := func() error {
		u := h.stored()["web"]
		if u == nil {
			return errors.New("the object went while a member that may hold a copy hangs")
		}
		if c, e := conditionOf(u, "Propagation"), entryOf(u, "c"); c["reason"] != "Deleting" || e["status"] == nil || entryOf(u, "a") != nil {
			return fmt.Errorf("status is %v %v", c, e)
		}
		return nil
	}
	h.eventually(named)
	h.must(h.Kill())
	h.again()
	h.eventually(named)
	thaw()
	h.eventually(func() error {
		if n := len(h.stored()) + len(h.copies("c")); n > 0 {
			return fmt.Errorf("%d objects and copies are left", n)
		}
		return nil
	})
}
