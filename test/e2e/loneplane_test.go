package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/test/harness"
)

var typeConfigResource = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "federatedtypeconfigs"}

// lonePlane is a plane that one test has for itself, to kill it, over members that it shares with the others: what it
// makes there is in namespaces of its own. Its configuration is the default one.
type lonePlane struct {
	*testing.T
	*harness.Plane
	client dynamic.Interface
}

func newLonePlane(t *testing.T, members ...string) *lonePlane {
	t.Helper()
	p := &lonePlane{T: t, Plane: harness.RunPlane(t, harness.PlaneOptions{})}
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

// connect makes a client for the plane as it is now.
func (p *lonePlane) connect() {
	p.Helper()
	config := p.RestConfig()
	config.WarningHandler = rest.NoWarnings{} // masks outside the placement are what is tested
	client, err := dynamic.NewForConfig(config)
	p.must(err)
	p.client = client
}

// again starts the plane anew and tells how long that took.
func (p *lonePlane) again() time.Duration {
	p.Helper()
	began := time.Now()
	p.must(p.Start(p.Context()))
	p.connect()
	return time.Since(began)
}

func (p *lonePlane) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *lonePlane) create(gvr schema.GroupVersionResource, namespace string, u *unstructured.Unstructured) {
	p.Helper()
	_, err := p.client.Resource(gvr).Namespace(namespace).Create(p.Context(), u, metav1.CreateOptions{})
	p.must(err)
}

func (p *lonePlane) eventually(holds func() error) {
	p.Helper()
	(&tenant{T: p.T}).eventually(holds)
}

// memberReady is the Ready condition of a member.
func (p *lonePlane) memberReady(name string) map[string]any {
	p.Helper()
	u, err := p.client.Resource(kubeFedClusters).Namespace(federation).Get(p.Context(), name, metav1.GetOptions{})
	p.must(err)
	return conditionOf(u, "Ready")
}

func (p *lonePlane) awaitMember(name, want string) time.Duration {
	p.Helper()
	began := time.Now()
	deadline := began.Add(2 * patience) // a plane with default settings takes its time to be sure
	for p.memberReady(name)["status"] != want {
		if time.Now().After(deadline) {
			p.Fatalf("member %s is %v, want Ready=%s", name, p.memberReady(name), want)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// herd is a namespace of a lone plane with one unit per member, each in the member namespace of the same name, and a
// watch over what happens there. The version of an object says where it may be: "<n>@<mask>@<placement>".
type herd struct {
	*lonePlane
	ns    string
	units map[string]string // unit → member

	mu   sync.Mutex
	seen []sight
}

// sight is a change of a copy.
type sight struct{ unit, name, version, kind string }

// newHerd makes the units "name member".
func (p *lonePlane) newHerd(t *testing.T, ns string, cells ...string) *herd {
	t.Helper()
	own := *p
	own.T = t
	h := &herd{lonePlane: &own, ns: ns, units: map[string]string{}}
	h.create(namespaces, "", decode(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}"))
	for _, c := range cells {
		f := strings.Fields(c)
		h.units[f[0]] = f[1]
		h.create(units, ns, decode(t, fmt.Sprintf("apiVersion: topology.cellfed.io/v1alpha1\nkind: Unit\nmetadata: {name: %s, namespace: %s}\nspec: {cluster: %s}", f[0], ns, f[1])))
		h.watch(f[0], f[1])
	}
	h.unitsAreWell()
	return h
}

// unitsAreWell checks that every unit is there and ready.
func (h *herd) unitsAreWell() {
	h.Helper()
	h.eventually(func() error {
		for name := range h.units {
			u, err := h.client.Resource(units).Namespace(h.ns).Get(h.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if c := conditionOf(u, "Ready"); c["status"] != "True" {
				return fmt.Errorf("unit %s is %v", name, c)
			}
		}
		return nil
	})
}

// watch notes what happens to copies in a unit, until the test ends.
func (h *herd) watch(unit, member string) {
	h.Helper()
	w, err := world.inside[member].Resource(configMaps).Namespace(h.ns).Watch(h.Context(), metav1.ListOptions{LabelSelector: "kubefed.io/managed=true"})
	h.must(err)
	h.Cleanup(w.Stop)
	go func() {
		for e := range w.ResultChan() {
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok || e.Type == watch.Error || e.Type == watch.Bookmark {
				continue
			}
			version, _, _ := unstructured.NestedString(u.Object, "data", "version")
			h.mu.Lock()
			h.seen = append(h.seen, sight{unit, u.GetName(), version, string(e.Type)})
			h.mu.Unlock()
		}
	}()
}

// sights are the changes of copies so far.
func (h *herd) sights() []sight {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// after waits for n changes of copies since a moment.
func (h *herd) after(since, n int) {
	h.Helper()
	for end := time.Now().Add(patience); len(h.sights()) < since+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("%d changes in the members, want %d", len(h.sights())-since, n)
		}
	}
}

// wish is what an object should be: units by their one-letter names; mask "*" = no mask.
type wish struct {
	n            int
	mask, placed string
}

func (w wish) version() string { return fmt.Sprintf("%d@%s@%s", w.n, w.mask, w.placed) }

func (w wish) admits(unit string) bool { return w.mask == "*" || strings.Contains(w.mask, unit) }

func parseWish(version string) (w wish) {
	_, _ = fmt.Sscanf(strings.ReplaceAll(version, "@", " "), "%d", &w.n)
	if f := strings.Split(version, "@"); len(f) == 3 {
		w.mask, w.placed = f[1], f[2]
	}
	return w
}

func names(units string) []any {
	out := []any{}
	for _, u := range strings.Split(units, "") {
		out = append(out, map[string]any{"name": u})
	}
	return out
}

// spec is the wish in topology form.
func (w wish) spec() map[string]any {
	spec := map[string]any{
		"topologyType":  "cell",
		"template":      map[string]any{"data": map[string]any{"version": w.version()}},
		"placement":     map[string]any{"topologies": names(w.placed)},
		"placementMask": nil,
	}
	if w.mask != "*" {
		spec["placementMask"] = map[string]any{"topologies": names(w.mask)}
	}
	return spec
}

func (h *herd) objects() dynamic.ResourceInterface {
	return h.client.Resource(fedConfigMap).Namespace(h.ns)
}

func (h *herd) make(ctx context.Context, name string, w wish) error {
	spec := w.spec()
	if spec["placementMask"] == nil {
		delete(spec, "placementMask")
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "types.kubefed.io/v2beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"name": name, "namespace": h.ns}, "spec": spec}}
	_, err := h.objects().Create(ctx, u, metav1.CreateOptions{})
	return err
}

func (h *herd) change(ctx context.Context, name string, w wish) error {
	body, err := (&unstructured.Unstructured{Object: map[string]any{"kind": "x", "spec": w.spec()}}).MarshalJSON()
	if err != nil {
		return err
	}
	body = []byte(strings.Replace(string(body), `"kind":"x",`, "", 1))
	_, err = h.objects().Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
	return err
}

// stored are the objects that the plane has.
func (h *herd) stored() map[string]*unstructured.Unstructured {
	h.Helper()
	list, err := h.objects().List(h.Context(), metav1.ListOptions{})
	h.must(err)
	out := map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		out[list.Items[i].GetName()] = &list.Items[i]
	}
	return out
}

// copies are the versions in a unit by name.
func (h *herd) copies(unit string) map[string]string {
	h.Helper()
	list, err := world.inside[h.units[unit]].Resource(configMaps).Namespace(h.ns).List(h.Context(), metav1.ListOptions{LabelSelector: "kubefed.io/managed=true"})
	h.must(err)
	out := map[string]string{}
	for i := range list.Items {
		out[list.Items[i].GetName()], _, _ = unstructured.NestedString(list.Items[i].Object, "data", "version")
	}
	return out
}

// settled waits until every object is told to be as asked, and every unit has what it should: objects that are gone
// have no copy, units in the mask have the content or nothing if they are not placed.
func (h *herd) settled() {
	h.Helper()
	h.eventually(func() error {
		stored := h.stored()
		for name, u := range stored {
			observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
			if c := conditionOf(u, "Propagation"); observed != u.GetGeneration() || c["status"] != "True" {
				return fmt.Errorf("%s at generation %d is told at %d to be %v", name, u.GetGeneration(), observed, c)
			}
		}
		for unit := range h.units {
			copies := h.copies(unit)
			for name := range copies {
				if stored[name] == nil {
					return fmt.Errorf("unit %s has a copy of %s, which is gone", unit, name)
				}
			}
			for name, u := range stored {
				version, _, _ := unstructured.NestedString(u.Object, "spec", "template", "data", "version")
				w := parseWish(version)
				if !w.admits(unit) {
					continue
				}
				want := ""
				if strings.Contains(w.placed, unit) {
					want = version
				}
				if copies[name] != want {
					return fmt.Errorf("unit %s has %s at %q, want %q", unit, name, copies[name], want)
				}
			}
		}
		return nil
	})
}

// nothingForbidden checks that no unit ever held a content that its mask and placement did not admit there.
func (h *herd) nothingForbidden() {
	h.Helper()
	for _, s := range h.sights() {
		if w := parseWish(s.version); !w.admits(s.unit) || !strings.Contains(w.placed, s.unit) {
			h.Errorf("unit %s was given %s at %s, which was not for it", s.unit, s.name, s.version)
		}
	}
}

// quiet checks that nothing more is written to the members.
func (h *herd) quiet(long time.Duration) {
	h.Helper()
	before := h.planeWrites()
	time.Sleep(long)
	if after := h.planeWrites(); after != before {
		h.Errorf("%d writes reached the members after everything was as asked", after-before)
	}
}

// planeWrites counts what planes wrote into the herd's namespaces in members.
func (h *herd) planeWrites() int {
	h.Helper()
	n := 0
	for _, m := range h.units {
		for _, r := range auditLog(h.T, m) {
			if r.ObjectRef.Namespace == h.ns && strings.HasPrefix(r.UserAgent, "cellfed") && r.Stage == "ResponseComplete" &&
				slices.Contains([]string{"create", "update", "patch", "delete"}, r.Verb) {
				n++
			}
		}
	}
	return n
}

// gone ends the herd's namespace, to show that it can end.
func (h *herd) gone() {
	h.Helper()
	h.must(h.client.Resource(namespaces).Delete(h.Context(), h.ns, metav1.DeleteOptions{}))
	h.eventually(func() error {
		_, err := h.client.Resource(namespaces).Get(h.Context(), h.ns, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("namespace %s is still there: %w", h.ns, err)
	})
}
