package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

func TestWhatIsMadeInOneFormIsReadWatchedAndChangedInTheOther(t *testing.T) {
	w := newTenant(t, "twoforms", "a "+east, "b "+west)
	for title, way := range map[string]struct{ from, to form }{
		"made in cluster form":  {clusterForm, topologyForm},
		"made in topology form": {topologyForm, clusterForm},
	} {
		t.Run(title, func(t *testing.T) {
			w := &tenant{T: t, ns: w.ns, at: w.at}
			name := way.from.version
			gvr := fedConfigMap
			gvr.Version = way.to.version
			other := world.client.Resource(gvr).Namespace(w.ns)
			watcher, err := other.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
			if err != nil {
				t.Fatal(err)
			}
			defer watcher.Stop()
			w.apply(way.from.config(w, name, "1", "placement: "+way.from.in(w, "a", "b"), "placementMask: "+way.from.in(w, "b", "a"),
				"overrides: [{"+way.from.overrideName+": "+way.from.name(w, "b")+", "+way.from.overrides+": [{path: /data/version, value: b1}]}]"))
			want := decode(t, way.to.config(w, name, "1", "placement: "+way.to.in(w, "a", "b"), "placementMask: "+way.to.in(w, "b", "a"),
				"overrides: [{"+way.to.overrideName+": "+way.to.name(w, "b")+", "+way.to.overrides+": [{path: /data/version, value: b1}]}]"))
			seen := awaitWatched(t, watcher, func(u *unstructured.Unstructured) bool { return u.GetGeneration() == 1 })
			for how, got := range map[string]*unstructured.Unstructured{"read": way.to.read(w, name), "watched": seen} {
				if diff := cmp.Diff(want.Object["spec"], got.Object["spec"]); diff != "" {
					t.Errorf("%s in the other form the spec differs (-want +got):\n%s", how, diff)
				}
				if got.GetAPIVersion() != want.GetAPIVersion() {
					t.Errorf("%s in the other form it is of %s", how, got.GetAPIVersion())
				}
			}
			w.has(name, "a=1", "b=b1")

			u := way.to.read(w, name)
			_ = unstructured.SetNestedField(u.Object, "2", "spec", "template", "data", "version")
			_ = unstructured.SetNestedSlice(u.Object, []any{map[string]any{"name": way.to.name(w, "a")}}, "spec", "placement", way.to.list)
			w.eventually(func() error { // status is written meanwhile
				u.SetResourceVersion(way.to.read(w, name).GetResourceVersion())
				_, err := other.Update(t.Context(), u, metav1.UpdateOptions{})
				return err
			})
			w.has(name, "a=2", "b=")
			awaitWatched(t, watcher, func(u *unstructured.Unstructured) bool { return u.GetGeneration() == 2 })
			back := decode(t, way.from.config(w, name, "2", "placement: "+way.from.in(w, "a"), "placementMask: "+way.from.in(w, "b", "a"),
				"overrides: [{"+way.from.overrideName+": "+way.from.name(w, "b")+", "+way.from.overrides+": [{path: /data/version, value: b1}]}]"))
			if diff := cmp.Diff(back.Object["spec"], way.from.read(w, name).Object["spec"]); diff != "" {
				t.Errorf("back in its own form the spec differs (-want +got):\n%s", diff)
			}
		})
	}
}

// awaitWatched waits for a version of an object to come over a watch.
func awaitWatched(t *testing.T, watcher watch.Interface, found func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case e, ok := <-watcher.ResultChan():
			if !ok || e.Type == watch.Error {
				t.Fatalf("the watch ended: %v", e)
			}
			if u := e.Object.(*unstructured.Unstructured); found(u) {
				return u
			}
		case <-end:
			t.Fatalf("not seen by the watch within %s", patience)
		}
	}
}

// A type that nobody carries: whatever its status says, a test wrote.
const limitRanges = `apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: limitranges, namespace: kube-federation-system}
spec:
  propagation: Enabled
  propagator: KubeFed
  targetType: {version: v1, kind: LimitRange, pluralName: limitranges, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedLimitRange, pluralName: federatedlimitranges, scope: Namespaced}
`

func TestStatusWritesNeverChangeTheSpecAndOthersNeverTheStatus(t *testing.T) {
	w := newTenant(t, "statuswrite", "a "+east, "b "+west)
	w.apply(limitRanges)
	w.kubectl("wait", "--for=condition=Served", "ftc/limitranges", "-n", "kube-federation-system", "--timeout=20s")
	for title, f := range bothForms {
		t.Run(title, func(t *testing.T) {
			w := &tenant{T: t, ns: w.ns, at: w.at}
			resource := func(f form) dynamic.ResourceInterface {
				return world.client.Resource(schema.GroupVersionResource{Group: "types.kubefed.io", Version: f.version, Resource: "federatedlimitranges"}).Namespace(w.ns)
			}
			name := f.version
			w.apply(strings.Replace(f.config(w, name, "1", "placement: "+f.in(w, "a", "b")), "FederatedConfigMap", "FederatedLimitRange", 1))
			read := func(f form) *unstructured.Unstructured {
				u, err := resource(f).Get(t.Context(), name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return u
			}
			before := map[string]*unstructured.Unstructured{}
			for _, f := range bothForms {
				before[f.version] = read(f)
			}

			// A status writer that sends a spec of its own.
			u := read(f)
			_ = unstructured.SetNestedField(u.Object, "stolen", "spec", "template", "data", "version")
			_ = unstructured.SetNestedMap(u.Object, map[string]any{}, "spec", "placement")
			_ = unstructured.SetNestedSlice(u.Object, []any{
				map[string]any{"name": f.name(w, "a"), "generation": int64(3), "remoteStatus": map[string]any{"x": nil, "clusters": []any{}}},
			}, "status", f.list)
			if _, err := resource(f).UpdateStatus(t.Context(), u, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, f := range bothForms {
				now := read(f)
				if diff := cmp.Diff(before[f.version].Object["spec"], now.Object["spec"]); diff != "" || now.GetGeneration() != 1 {
					t.Errorf("a status write changed the spec in %s, at generation %d (-before +after):\n%s", f.version, now.GetGeneration(), diff)
				}
				want := []any{map[string]any{"name": f.name(w, "a"), "generation": int64(3), "remoteStatus": map[string]any{"x": nil, "clusters": []any{}}}}
				got, _, _ := unstructured.NestedSlice(now.Object, "status", f.list)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("status in %s (-want +got):\n%s", f.version, diff)
				}
				before[f.version] = now
			}

			// A writer of the spec that sends a status of its own.
			u = read(f)
			_ = unstructured.SetNestedField(u.Object, "2", "spec", "template", "data", "version")
			delete(u.Object, "status")
			if _, err := resource(f).Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, f := range bothForms {
				now := read(f)
				if diff := cmp.Diff(before[f.version].Object["status"], now.Object["status"]); diff != "" || now.GetGeneration() != 2 {
					t.Errorf("a write of the spec changed the status in %s, at generation %d (-before +after):\n%s", f.version, now.GetGeneration(), diff)
				}
			}
		})
	}
	if got := requestsFor(t, "limitranges"); len(got) != 0 {
		t.Errorf("KubeFed is the propagator, and the plane asked members for %v", got)
	}
}

// requestsFor are the plane's requests to any member for a resource.
func requestsFor(t *testing.T, resource string) []string {
	t.Helper()
	var out []string
	for _, m := range world.members.Members {
		for _, r := range requests(t, m.Name) {
			if r.ObjectRef.Resource == resource {
				out = append(out, m.Name+": "+r.Verb+" "+r.RequestURI)
			}
		}
	}
	return out
}

func TestTwoServerSideApplyManagersOnePerFormShareAnObject(t *testing.T) {
	w := newTenant(t, "twomanagers", "a "+east, "b "+west)
	apply := func(manager, manifest string) (string, int) {
		return kubectlExit(t, manifest, "apply", "--server-side", "--field-manager="+manager, "-f", "-")
	}
	must := func(manager, manifest string) {
		t.Helper()
		if out, code := apply(manager, manifest); code != 0 {
			t.Fatalf("%s: %s", manager, out)
		}
	}
	release := func(spec ...string) string { // says where, and no template
		all := topologyForm.config(w, "web", "", spec...)
		return strings.Replace(strings.Replace(all, "  template: {data: {version: \"\"}}\n", "", 1), "  topologyType: cell\n", "", 1)
	}
	must("developers", clusterForm.config(w, "web", "1"))
	must("releases", release("placement: "+topologyForm.in(w, "a", "b")))
	w.has("web", "a=1", "b=1")
	must("releases", release("placement: "+topologyForm.in(w, "a", "b"), "placementMask: "+topologyForm.in(w, "a")))
	must("developers", clusterForm.config(w, "web", "2"))
	w.has("web", "a=2")
	w.told("web", "True")
	w.keeps("web", time.Second, "a=2", "b=1")

	versions := map[string]string{}
	for _, m := range w.get("web").GetManagedFields() {
		if m.Operation == metav1.ManagedFieldsOperationApply {
			versions[m.Manager] = m.APIVersion
		}
	}
	if want := map[string]string{"developers": "types.kubefed.io/v1beta1", "releases": "types.kubefed.io/v2beta1"}; !cmp.Equal(versions, want) {
		t.Errorf("managers by version are %v, want %v", versions, want)
	}
	out, code := apply("developers", clusterForm.config(w, "web", "2", "placement: "+clusterForm.in(w, "b")))
	if code == 0 || !strings.Contains(out, `conflict with "releases": .spec.placement`) {
		t.Errorf("the other form's manager can take the placement without a word (%d):\n%s", code, out)
	}
	// Each manager can let go of what it alone holds, in the other's form too.
	must("releases", release("placement: "+topologyForm.in(w, "a", "b")))
	w.has("web", "a=2", "b=2")
	if spec := clusterForm.read(w, "web").Object["spec"].(map[string]any); spec["placementMask"] != nil {
		t.Errorf("the mask is still there in cluster form: %v", spec)
	}
}

func TestClientSideApplyAcrossFormsTellsWhatStaysBehind(t *testing.T) {
	w := newTenant(t, "acrossforms", "a "+east, "b "+west)
	for name, c := range map[string]struct {
		before, after string
		warning       string
		want          string // the placement and mask in topology form that are stored then
	}{
		"names in the other form's words are replaced": {
			before: clusterForm.config(w, "n1", "1", "placement: "+clusterForm.in(w, "a", "b")),
			after:  topologyForm.config(w, "n1", "2", "placement: "+topologyForm.in(w, "b")),
			want:   `{topologies: [{name: b}]}`,
		},
		"names stay behind a topologySelector and win over it": {
			before:  clusterForm.config(w, "n2", "1", "placement: "+clusterForm.in(w, "a")),
			after:   topologyForm.config(w, "n2", "2", "placement: {topologySelector: {}}"),
			warning: "spec.placement.topologySelector is not used, because spec.placement.topologies is there",
			want:    `{topologies: [{name: a}], topologySelector: {}}`,
		},
		"names stay behind a clusterSelector and win over it": {
			before:  topologyForm.config(w, "n3", "1", "placement: "+topologyForm.in(w, "a")),
			after:   clusterForm.config(w, "n3", "2", "placement: {clusterSelector: {matchExpressions: [{key: topology.cellfed.io/type, operator: In, values: [cell]}, {key: topology.cellfed.io/namespace, operator: In, values: [acrossforms]}]}}"),
			warning: "spec.placement.clusterSelector is not used, because spec.placement.clusters is there",
			want:    `{topologies: [{name: a}], topologySelector: {}}`,
		},
		"a selector stays behind names": {
			before:  topologyForm.config(w, "n4", "1", "placement: {topologySelector: {matchLabels: {city: x}}}"),
			after:   clusterForm.config(w, "n4", "2", "placement: "+clusterForm.in(w, "b")),
			warning: "spec.placement.clusterSelector is not used, because spec.placement.clusters is there",
			want:    `{topologies: [{name: b}], topologySelector: {matchLabels: {city: x}}}`,
		},
		"names stay behind an empty placement": {
			before:  clusterForm.config(w, "n5", "1", "placement: "+clusterForm.in(w, "a")),
			after:   topologyForm.config(w, "n5", "2", "placement: {}"),
			warning: "Warning: spec.placement.topologies stays, though what was applied is empty there",
			want:    `{topologies: [{name: a}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &tenant{T: t, ns: w.ns, at: w.at}
			w.apply(c.before)
			out := w.apply(c.after)
			if c.warning == "" && strings.Contains(out, "Warning") || !strings.Contains(out, c.warning) {
				t.Errorf("apply says %q, want %q", out, c.warning)
			}
			u := w.get(decode(t, c.after).GetName())
			if diff := cmp.Diff(decode(t, c.want).Object, u.Object["spec"].(map[string]any)["placement"]); diff != "" {
				t.Errorf("placement (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a mask that stays behind an empty one is told", func(t *testing.T) {
		w := &tenant{T: t, ns: w.ns, at: w.at}
		placement := "placement: " + clusterForm.in(w, "a", "b")
		w.apply(clusterForm.config(w, "m", "1", placement, "placementMask: "+clusterForm.in(w, "a")))
		out := w.apply(topologyForm.config(w, "m", "1", "placement: "+topologyForm.in(w, "a", "b"), "placementMask: {}"))
		if !strings.Contains(out, "Warning: spec.placementMask.topologies stays") {
			t.Errorf("apply does not warn that the mask is not empty: %s", out)
		}
		replacement := topologyForm.config(w, "m", "1", "placement: "+topologyForm.in(w, "a", "b"), "placementMask: {}")
		if out, code := kubectlExit(t, replacement, "replace", "-f", "-"); code != 0 {
			t.Fatal(out)
		}
		if mask, there, _ := unstructured.NestedMap(w.get("m").Object, "spec", "placementMask"); !there || len(mask) != 0 {
			t.Errorf("after what the warning tells to do, the mask is %v", mask)
		}
	})
}

func TestAChangeInTopologyFormLeavesTheSelectorOfTheClusterFormAsItWasWritten(t *testing.T) {
	w := newTenant(t, "selectorform", "a "+east)
	w.kubectl("label", "unit/a", "-n", w.ns, "city=hangzhou")
	ours := "{key: topology.cellfed.io/type, operator: In, values: [cell]}, {key: topology.cellfed.io/namespace, operator: In, values: [selectorform]}"
	written := clusterForm.config(w, "web", "1", "placement: {clusterSelector: {matchLabels: {city: hangzhou}, matchExpressions: ["+ours+"]}}")
	w.apply(written)
	w.has("web", "a=1")
	got, _, _ := unstructured.NestedMap(w.get("web").Object, "spec", "placement")
	if want := decode(t, "{topologySelector: {matchLabels: {city: hangzhou}}}").Object; !cmp.Equal(want, got) {
		t.Errorf("in topology form the placement is %v, want %v", got, want)
	}
	if _, err := world.client.Resource(fedConfigMap).Namespace(w.ns).Patch(t.Context(), "web", types.MergePatchType,
		[]byte(`{"spec":{"template":{"data":{"version":"2"}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.has("web", "a=2")
	want := decode(t, written).Object["spec"].(map[string]any)["placement"]
	if diff := cmp.Diff(want, clusterForm.read(w, "web").Object["spec"].(map[string]any)["placement"]); diff != "" {
		t.Errorf("a patch in topology form changed the selector in cluster form (-was +is):\n%s", diff)
	}
}
