package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// federated is a type that a test federates: one FederatedTypeConfig, and nothing else.
type federated struct {
	*tenant
	config, kind       string
	resource, inMember schema.GroupVersionResource
	namespaced         bool
}

// federate makes the FederatedTypeConfig of a kind and waits until it is served. group/version/plural are the members'.
func (w *tenant) federate(group, version, kind, plural string, namespaced bool) *federated {
	w.Helper()
	f := &federated{tenant: w, config: plural, kind: "Federated" + kind, namespaced: namespaced,
		resource: schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federated" + plural},
		inMember: schema.GroupVersionResource{Group: group, Version: version, Resource: plural}}
	if group != "" {
		f.config += "." + group
	}
	scope := map[bool]string{true: "Namespaced", false: "Cluster"}[namespaced]
	f.apply(fmt.Sprintf(`apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: %s, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {group: "%s", version: %s, kind: %s, pluralName: %s, scope: %s}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: %s, pluralName: %s, scope: %s}
`, f.config, group, version, kind, plural, scope, f.kind, f.resource.Resource, scope))
	f.awaitServed()
	return f
}

// deploymentsOf are the FederatedDeployments of a tenant, which are federated for all tests.
func deploymentsOf(w *tenant) *federated {
	return &federated{tenant: w, kind: "FederatedDeployment", namespaced: true, inMember: deployments,
		resource: schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federateddeployments"}}
}

func (f *federated) awaitServed() {
	f.Helper()
	f.eventually(func() error {
		if c := f.condition("Served"); c["status"] != "True" {
			return fmt.Errorf("condition Served of %s is %v", f.config, c)
		}
		return nil
	})
}

// put applies an object in topology form; spec is YAML in flow style.
func (f *federated) put(name, spec string) string {
	f.Helper()
	meta := "name: " + name
	if f.namespaced {
		meta += ", namespace: " + f.ns
	}
	return f.apply("apiVersion: types.kubefed.io/v2beta1\nkind: " + f.kind + "\nmetadata: {" + meta + "}\nspec: " + spec + "\n")
}

// stored reads the federated object.
func (f *federated) stored(name string) *unstructured.Unstructured {
	f.Helper()
	var u *unstructured.Unstructured
	var err error
	if f.namespaced {
		u, err = world.client.Resource(f.resource).Namespace(f.ns).Get(f.Context(), name, metav1.GetOptions{})
	} else {
		u, err = world.client.Resource(f.resource).Get(f.Context(), name, metav1.GetOptions{})
	}
	if err != nil {
		f.Fatal(err)
	}
	return u
}

// delete deletes the federated object and waits for its end; for cluster-scoped ones no namespace does that later.
func (f *federated) delete(name string) {
	f.Helper()
	args := []string{"delete", f.resource.Resource + "/" + name, "--timeout=20s"}
	if f.namespaced {
		args = append(args, "-n", f.ns)
	}
	f.kubectl(args...)
}

// unitStatus is a unit's entry in the status.
func (f *federated) unitStatus(name, unit string) map[string]any {
	f.Helper()
	list, _, _ := unstructured.NestedSlice(f.stored(name).Object, "status", "topologies")
	for _, e := range list {
		if m := e.(map[string]any); m["name"] == unit {
			return m
		}
	}
	return nil
}

// is waits until a unit's code in the status is as wanted; "" = nothing is wrong and the status is about this generation.
func (f *federated) is(name, unit, code string) map[string]any {
	f.Helper()
	var entry map[string]any
	f.eventually(func() error {
		u := f.stored(name)
		if observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); observed != u.GetGeneration() {
			return fmt.Errorf("status is about generation %d, the object is at %d", observed, u.GetGeneration())
		}
		entry = f.unitStatus(name, unit)
		if got, _ := entry["status"].(string); entry == nil || got != code {
			return fmt.Errorf("status of %s is %v, want code %q", unit, entry, code)
		}
		return nil
	})
	return entry
}

// inside reads the copy in a member; nil = there is none.
func (f *federated) inside(member, namespace, name string) *unstructured.Unstructured {
	f.Helper()
	u, err := world.inside[member].Resource(f.inMember).Namespace(namespace).Get(f.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		f.Fatal(err)
	}
	return u
}

// field waits until a field of the copy in a member is as wanted, printed.
func (f *federated) field(member, namespace, name, want string, path ...string) {
	f.Helper()
	f.eventually(func() error {
		u := f.inside(member, namespace, name)
		if u == nil {
			return fmt.Errorf("%s is not in %s", name, member)
		}
		if got, _, _ := unstructured.NestedFieldNoCopy(u.Object, path...); fmt.Sprint(got) != want {
			return fmt.Errorf("%s of %s in %s is %v, want %s", strings.Join(path, "."), name, member, got, want)
		}
		return nil
	})
}

// condition is a condition of the FederatedTypeConfig.
func (f *federated) condition(typ string) map[string]any {
	f.Helper()
	u, err := world.client.Resource(schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "federatedtypeconfigs"}).
		Namespace("kube-federation-system").Get(f.Context(), f.config, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return conditionOf(u, typ)
}

// setType changes the spec of the FederatedTypeConfig and waits until its controller runs, or does not.
func (f *federated) setType(patch, controller string) {
	f.Helper()
	f.kubectl("patch", "ftc/"+f.config, "-n", "kube-federation-system", "--type=merge", "-p", `{"spec":`+patch+`}`)
	f.kubectl("wait", "--for=jsonpath={.status.propagationController}="+controller, "ftc/"+f.config, "-n", "kube-federation-system", "--timeout=20s")
}

func TestATypeConfigAloneFederatesSecrets(t *testing.T) {
	w := newTenant(t, "type-secret", "a "+east, "b "+west+" type-secret-b")
	f := w.federate("", "v1", "Secret", "secrets", true)
	f.put("db", `{topologyType: cell, placement: {topologies: [{name: a}, {name: b}]}, template: {type: Opaque, data: {password: MQ==}},
		overrides: [{topologyName: b, topologyOverrides: [{path: /data/password, value: Mg==}]}]}`)
	f.field(east, "type-secret", "db", "MQ==", "data", "password")
	f.field(west, "type-secret-b", "db", "Mg==", "data", "password")
	f.is("db", "a", "")
	f.is("db", "b", "")
	f.delete("db")
	if u := f.inside(west, "type-secret-b", "db"); u != nil {
		t.Errorf("the Secret is still there: %v", u.GetName())
	}
}

func TestAClusterScopedKindIsPlacedByClusterAndWhatAMemberForbidsIsTold(t *testing.T) {
	w := newTenant(t, "type-clusterrole")
	f := w.federate("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false)
	const name = "e2e-reader"
	rules := func(verb string) string {
		return `{placement: {topologies: [{name: east}, {name: west}]}, template: {rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]},
		overrides: [{topologyName: east, topologyOverrides: [{path: /rules/0/verbs/0, value: ` + verb + `}]}]}`
	}
	f.put(name, rules("list"))
	verb := func(member, want string) {
		t.Helper()
		f.eventually(func() error {
			u := f.inside(member, "", name)
			if u == nil {
				return fmt.Errorf("%s is not in %s", name, member)
			}
			rules, _, _ := unstructured.NestedSlice(u.Object, "rules")
			if len(rules) != 1 || fmt.Sprint(rules[0].(map[string]any)["verbs"]) != "["+want+"]" {
				return fmt.Errorf("rules in %s are %v, want %s", member, rules, want)
			}
			return nil
		})
	}
	verb(east, "list")
	verb(west, "get")
	f.is(name, "east", "")
	f.is(name, "west", "")

	// The plane cannot hand out rights that it does not have in the member.
	f.put(name, strings.Replace(rules("escalate"), "resources: [pods]", "resources: [nodes]", 1))
	f.is(name, "west", "")
	if e := f.is(name, "east", "UpdateFailed"); !strings.Contains(fmt.Sprint(e["message"]), "forbidden") {
		t.Errorf("the message does not tell what the member said: %v", e)
	}
	verb(east, "list")
	f.put("e2e-forbidden", `{placement: {topologies: [{name: east}]}, template: {rules: [{apiGroups: [""], resources: [pods], verbs: ["*"]}]}}`)
	f.is("e2e-forbidden", "east", "CreationFailed")
	f.delete(name)
	f.delete("e2e-forbidden")
	if u := f.inside(west, "", name); u != nil {
		t.Errorf("the ClusterRole is still in %s", west)
	}
}

func TestUnitsCannotHoldClusterScopedObjects(t *testing.T) {
	w := newTenant(t, "type-priority", "a "+east)
	f := w.federate("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false)
	out := w.refused("apiVersion: types.kubefed.io/v2beta1\nkind: FederatedPriorityClass\nmetadata: {name: e2e-high}\nspec: {topologyType: cell, placement: {topologies: [{name: a}]}, template: {value: 7}}\n")
	if !strings.Contains(out, "spec.topologyType") || !strings.Contains(out, "place it by cluster") {
		t.Errorf("the refusal does not tell where and why: %s", out)
	}
	f.put("e2e-high", `{placement: {topologySelector: {}}, template: {value: 7, description: one}}`)
	for _, m := range []string{east, west, tower} {
		f.field(m, "", "e2e-high", "7", "value")
	}
	f.put("e2e-high", `{placement: {topologies: [{name: east}, {name: west}, {name: tower}]}, template: {value: 7, description: two},
		overrides: [{topologyName: east, topologyOverrides: [{path: /value, value: 8}]}]}`)
	f.field(west, "", "e2e-high", "two", "description")
	if e := f.is("e2e-high", "east", "UpdateFailed"); !strings.Contains(fmt.Sprint(e["message"]), "value") {
		t.Errorf("the message does not tell that the member finds value immutable: %v", e)
	}
	f.is("e2e-high", "west", "")
	f.delete("e2e-high")
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// define makes a CRD of group example.com in members.
func define(t *testing.T, kind, plural, scope string, members ...string) {
	t.Helper()
	crd := decode(t, fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s.example.com}
spec:
  group: example.com
  scope: %s
  names: {kind: %s, plural: %s, singular: %s, listKind: %sList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
`, plural, scope, kind, plural, strings.ToLower(kind), kind))
	for _, m := range members {
		if _, err := world.inside[m].Resource(definitions).Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			if err := world.inside[m].Resource(definitions).Delete(ctx, crd.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
}

func TestAKindThatOneMemberLacksIsPropagatedThereAsSoonAsItAppears(t *testing.T) {
	w := newTenant(t, "type-gadget", "a "+east, "b "+west)
	define(t, "Gadget", "gadgets", "Namespaced", east)
	f := w.federate("example.com", "v1", "Gadget", "gadgets", true)
	spec := func(size string) string {
		return `{topologyType: cell, placement: {topologies: [{name: a}, {name: b}]}, template: {spec: {size: ` + size + `}}}`
	}
	f.put("one", spec("1"))
	f.field(east, w.ns, "one", "1", "spec", "size")
	f.is("one", "a", "")
	f.is("one", "b", "KindNotInMember")
	f.eventually(func() error {
		c := f.condition("InMembers")
		if c["status"] != "False" || !strings.Contains(fmt.Sprint(c["message"]), west) || strings.Contains(fmt.Sprint(c["message"]), east) {
			return fmt.Errorf("condition InMembers is %v, want it to name %s", c, west)
		}
		return nil
	})
	f.put("one", spec("2")) // the others go on
	f.field(east, w.ns, "one", "2", "spec", "size")

	define(t, "Gadget", "gadgets", "Namespaced", west, tower)
	began := time.Now()
	f.field(west, w.ns, "one", "2", "spec", "size")
	t.Logf("propagated %s after the kind appeared", time.Since(began).Round(100*time.Millisecond))
	f.is("one", "b", "")
	f.eventually(func() error {
		if c := f.condition("InMembers"); c["status"] != "True" {
			return fmt.Errorf("condition InMembers is %v, want True", c)
		}
		return nil
	})
	f.delete("one")
}

func TestAClusterScopedCustomKindIsFederated(t *testing.T) {
	w := newTenant(t, "type-planet")
	define(t, "Planet", "planets", "Cluster", east, west)
	f := w.federate("example.com", "v1", "Planet", "planets", false)
	f.put("mars", `{placement: {topologies: [{name: east}, {name: west}]}, template: {spec: {moons: 2}}}`)
	f.field(east, "", "mars", "2", "spec", "moons")
	f.field(west, "", "mars", "2", "spec", "moons")
	f.is("mars", "east", "")
	f.delete("mars")
	if f.inside(east, "", "mars") != nil {
		t.Error("the object is still there")
	}
}

// untouched checks for a while that the copy stays at a value although the federated object says otherwise.
func (f *federated) untouched(member, name, want string, path ...string) {
	f.Helper()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		u := f.inside(member, f.ns, name)
		if u == nil {
			f.Fatalf("%s is gone", name)
		}
		if got, _, _ := unstructured.NestedFieldNoCopy(u.Object, path...); fmt.Sprint(got) != want {
			f.Fatalf("%s was written to %v by nobody who may", name, got)
		}
	}
}

func TestATypeCanBeDisabledHandedToKubeFedAndTakenBack(t *testing.T) {
	w := newTenant(t, "type-life", "a "+east)
	f := w.federate("", "v1", "ResourceQuota", "resourcequotas", true)
	spec := func(pods string) string {
		return `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {spec: {hard: {pods: "` + pods + `"}}}}`
	}
	path := []string{"spec", "hard", "pods"}
	f.put("q", spec("1"))
	f.field(east, w.ns, "q", "1", path...)
	f.is("q", "a", "")

	for i, off := range []struct{ title, patch string }{
		{"disabled", `{"propagation":"Disabled"}`},
		{"KubeFed's", `{"propagator":"KubeFed"}`},
	} {
		now, next := fmt.Sprint(i+1), fmt.Sprint(i+2)
		f.setType(off.patch, "NotRunning")
		before := len(writesFor(t, "resourcequotas"))
		f.put("q", spec(next))
		f.untouched(east, "q", now, path...)
		if after := writesFor(t, "resourcequotas"); len(after) != before {
			t.Errorf("while the type is %s the plane wrote to members: %v", off.title, after[before:])
		}
		f.setType(`{"propagation":"Enabled","propagator":"CellFed"}`, "Running")
		f.field(east, w.ns, "q", next, path...)
	}
	f.delete("q")
}

// writesFor are the plane's writes to any member of a resource.
func writesFor(t *testing.T, resource string) []string {
	t.Helper()
	var out []string
	for _, s := range requestsFor(t, resource) {
		if f := strings.Fields(s); f[1] != "get" && f[1] != "list" && f[1] != "watch" {
			out = append(out, s)
		}
	}
	return out
}

func TestAnObjectOfADisabledTypeCanStillBeDeleted(t *testing.T) {
	w := newTenant(t, "type-disabled", "a "+east)
	f := w.federate("", "v1", "ServiceAccount", "serviceaccounts", true)
	f.put("robot", `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {}}`)
	f.is("robot", "a", "")
	f.setType(`{"propagation":"Disabled"}`, "NotRunning")
	f.delete("robot")
	if f.inside(east, w.ns, "robot") != nil {
		t.Error("the copy outlived its federated object")
	}
}

func TestATypeConfigEndsWhenItsObjectsHaveAndLeavesTheType(t *testing.T) {
	w := newTenant(t, "type-end", "a "+east)
	f := w.federate("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true)
	spec := func(n string) string {
		return `{topologyType: cell, placement: {topologies: [{name: a}]}, template: {spec: {maxUnavailable: ` + n + `}}}`
	}
	f.put("p", spec("1"))
	f.field(east, w.ns, "p", "1", "spec", "maxUnavailable")
	f.is("p", "a", "")
	w.kubectl("delete", "ftc/"+f.config, "-n", "kube-federation-system", "--wait=false")
	w.eventually(func() error {
		if c := f.condition("Ended"); c["status"] != "False" || !strings.Contains(fmt.Sprint(c["message"]), w.ns+"/p") {
			return fmt.Errorf("condition Ended is %v, want False and the object's name", c)
		}
		return nil
	})
	f.put("p", spec("2")) // changes are carried no more, deletions are
	f.untouched(east, "p", "1", "spec", "maxUnavailable")
	for _, version := range []string{"v1beta1", "v2beta1"} {
		if got := w.kubectl("get", "federatedpoddisruptionbudgets."+version+".types.kubefed.io", "-n", w.ns, "-o", "name"); !strings.Contains(got, "/p") {
			t.Errorf("in %s there is %q, want the object", version, got)
		}
	}
	f.delete("p")
	if f.inside(east, w.ns, "p") != nil {
		t.Error("the copy outlived its federated object")
	}
	w.kubectl("wait", "--for=delete", "ftc/"+f.config, "-n", "kube-federation-system", "--timeout=20s")
	w.kubectl("get", "federatedpoddisruptionbudgets.v1beta1.types.kubefed.io", "-n", w.ns)
	f = w.federate("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true)
	f.put("p", spec("3"))
	f.field(east, w.ns, "p", "3", "spec", "maxUnavailable")
	f.delete("p")
}

func TestTheMembersOwnStatusIsToldInNearRealTime(t *testing.T) {
	w := newTenant(t, "remotestatus", "a "+east, "b "+west)
	f := deploymentsOf(w)
	f.put("web", `{topologyType: cell, placement: {topologies: [{name: a}, {name: b}]}, template: {spec: {replicas: 2, selector: {matchLabels: {app: web}},
		template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: registry.example.com/web:1}]}}}},
		overrides: [{topologyName: b, topologyOverrides: [{path: /spec/replicas, value: 3}]}]}`)
	remote := func(unit string, key string) int64 {
		n, _, _ := unstructured.NestedInt64(f.unitStatus("web", unit), "remoteStatus", key)
		return n
	}
	for unit, want := range map[string]int64{"a": 2, "b": 3} {
		f.eventually(func() error {
			if r, u := remote(unit, "replicas"), remote(unit, "unavailableReplicas"); r != want || u != want {
				return fmt.Errorf("status of %s tells of %d replicas, %d of them unavailable, want %d", unit, r, u, want)
			}
			return nil
		})
	}
	// What only the member knows: nothing of this passes through the plane's own writes.
	patch := `{"status":{"collisionCount":7}}`
	if _, err := world.inside[east].Resource(deployments).Namespace(w.ns).Patch(t.Context(), "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f.eventually(func() error {
		if n := remote("a", "collisionCount"); n != 7 {
			return fmt.Errorf("collisionCount is %d", n)
		}
		return nil
	})
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s until the status told what the member did", took)
	}
	f.delete("web")
}
