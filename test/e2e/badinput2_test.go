package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// placedIn is a FederatedConfigMap in topology form, as an object: what kubectl would choke on is sent by hand.
func placedIn(w *tenant, name string, template map[string]any, spec map[string]any, units ...string) *unstructured.Unstructured {
	entries := []any{}
	for _, u := range units {
		entries = append(entries, map[string]any{"name": u})
	}
	all := map[string]any{"topologyType": "cell", "template": template, "placement": map[string]any{"topologies": entries}}
	for key, value := range spec {
		all[key] = value
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "types.kubefed.io/v2beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"namespace": w.ns, "name": name}, "spec": all}}
}

func (w *tenant) create(u *unstructured.Unstructured) error {
	_, err := world.client.Resource(fedConfigMap).Namespace(w.ns).Create(w.Context(), u, metav1.CreateOptions{})
	return err
}

// replace changes the spec of an object that is there.
func (w *tenant) replace(u *unstructured.Unstructured) error {
	there := w.get(u.GetName())
	there.Object["spec"] = u.Object["spec"]
	_, err := world.client.Resource(fedConfigMap).Namespace(w.ns).Update(w.Context(), there, metav1.UpdateOptions{})
	return err
}

func TestATemplateBringsNoIdentityIntoAMember(t *testing.T) {
	w := newTenant(t, "identity", "a "+east)
	w.apply(fmt.Sprintf(`apiVersion: types.kubefed.io/v2beta1
kind: FederatedConfigMap
metadata: {namespace: %s, name: web}
spec:
  topologyType: cell
  placement: {topologies: [{name: a}]}
  template:
    metadata:
      name: other
      namespace: kube-system
      generateName: other-
      uid: 11111111-1111-1111-1111-111111111111
      resourceVersion: "1"
      generation: 77
      selfLink: /api/v1/namespaces/kube-system/configmaps/other
      creationTimestamp: "2001-01-01T00:00:00Z"
      deletionTimestamp: "2001-01-01T00:00:00Z"
      deletionGracePeriodSeconds: 0
      finalizers: [example.com/never]
      ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: nobody, uid: 22222222-2222-2222-2222-222222222222}]
      managedFields: [{manager: somebody, operation: Update, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: {}}]
      labels: {app: web, kubefed.io/managed: "false"}
    data: {version: "1"}
    status: {phase: Invented}
`, w.ns))
	w.has("web", "a=1")
	w.told("web", "True")
	u := w.copyIn("a", "web")
	if u.GetUID() == "11111111-1111-1111-1111-111111111111" || u.GetGenerateName() != "" || u.GetSelfLink() != "" ||
		len(u.GetFinalizers()) != 0 || len(u.GetOwnerReferences()) != 0 || u.GetDeletionTimestamp() != nil ||
		u.GetCreationTimestamp().Year() == 2001 || u.GetLabels()["kubefed.io/managed"] != "true" || u.GetLabels()["app"] != "web" || u.Object["status"] != nil {
		t.Errorf("the copy is %v", u.Object)
	}
	for _, f := range u.GetManagedFields() {
		if f.Manager == "somebody" {
			t.Error("the copy has managed fields of somebody's")
		}
	}
	version := w.get("web").GetResourceVersion()
	time.Sleep(2 * time.Second)
	if now := w.get("web").GetResourceVersion(); now != version {
		t.Error("the plane goes on writing: what it takes off is missed each time")
	}
}

func TestWhatIsTooLargeIsRefusedOrToldAndNothingIsDeleted(t *testing.T) {
	w := newTenant(t, "large", "a "+east, "b "+west)
	data := func(version string, bytes int) map[string]any {
		return map[string]any{"data": map[string]any{"version": version, "fill": strings.Repeat("x", bytes)}}
	}
	if err := w.create(placedIn(w, "web", data("1", 900<<10), nil, "a", "b")); err != nil {
		t.Fatal(err)
	}
	w.has("web", "a=1", "b=1")
	w.told("web", "True")
	// Each unit with another fill: the templates are large and the overrides too.
	if err := w.replace(placedIn(w, "web", data("2", 900<<10), map[string]any{"overrides": []any{map[string]any{"topologyName": "a",
		"topologyOverrides": []any{map[string]any{"path": "/data/version", "value": "2a"}, map[string]any{"path": "/data/fill", "value": strings.Repeat("y", 500<<10)}}}}},
		"a", "b")); err != nil {
		t.Fatal(err)
	}
	w.has("web", "a=2a", "b=2")
	w.told("web", "True")
	// More than a member takes: the copy stays.
	err := w.replace(placedIn(w, "web", data("3", 1200<<10), nil, "a", "b"))
	if err == nil {
		w.told("web", "False")
		w.eventually(func() error {
			if e := w.entry("web", "b"); e["status"] != "UpdateFailed" || !strings.Contains(fmt.Sprint(e["message"]), "1048576") {
				return fmt.Errorf("status of b is %v", e)
			}
			return nil
		})
	}
	t.Logf("1.2 MB: %v", err)
	w.keeps("web", time.Second, "a=2a", "b=2")
	// More than the plane takes.
	if err := w.replace(placedIn(w, "web", data("4", 4<<20), nil, "a", "b")); err == nil {
		t.Error("the plane took 4 MiB")
	} else {
		t.Logf("4 MiB: %v", err)
	}
	w.keeps("web", time.Second, "a=2a", "b=2")
	w.apply(w.config("small", "1", placed("a", "b")))
	w.within(soon, "an object beside it", func() { w.has("small", "a=1", "b=1") })
	if err := w.replace(placedIn(w, "web", data("5", 10), nil, "a", "b")); err != nil {
		t.Fatal(err)
	}
	w.has("web", "a=5", "b=5")
	w.told("web", "True")
}

func TestTenThousandOverridesAreTakenOrRefusedAndDelayNobody(t *testing.T) {
	w := newTenant(t, "many", "a "+east, "b "+west)
	data := map[string]any{"version": "1"}
	var ops []any
	for i := range 10_000 {
		key := fmt.Sprintf("k%d", i)
		data[key] = "x"
		ops = append(ops, map[string]any{"path": "/data/" + key, "value": fmt.Sprint(i)})
	}
	ofA := map[string]any{"overrides": []any{map[string]any{"topologyName": "a", "topologyOverrides": ops}}}
	if err := w.create(placedIn(w, "web", map[string]any{"data": data}, ofA, "a", "b")); err != nil {
		t.Fatal(err)
	}
	w.within(patience, "10,000 operations", func() { w.has("web", "a=1", "b=1") })
	if v, _, _ := unstructured.NestedString(w.copyIn("a", "web").Object, "data", "k9999"); v != "9999" {
		t.Errorf("the last override gave %q", v)
	}
	var entries []any
	for i := range 10_000 {
		entries = append(entries, map[string]any{"topologyName": fmt.Sprintf("u%d", i), "topologyOverrides": []any{map[string]any{"path": "/data/version", "value": "2"}}})
	}
	began := time.Now()
	err := w.create(placedIn(w, "wide", map[string]any{"data": map[string]any{"version": "1"}}, map[string]any{"overrides": entries}, "a", "b"))
	t.Logf("10,000 entries after %s: %.300v", time.Since(began).Round(time.Millisecond), err)
	if took := time.Since(began); took > patience {
		t.Errorf("the answer took %s", took)
	}
	if err == nil {
		w.has("wide", "a=1", "b=1")
	}
	long := make([]any, 200_000)
	var front []any
	for i := range long {
		long[i] = int64(i % 10)
	}
	for i := range 5_000 {
		front = append(front, map[string]any{"op": "add", "path": fmt.Sprintf("/list/%d", i), "value": 1})
	}
	began = time.Now()
	err = w.create(placedIn(w, "slow", map[string]any{"list": long}, map[string]any{"overrides": []any{
		map[string]any{"topologyName": "a", "topologyOverrides": front}}}, "a", "b"))
	if err == nil || !strings.Contains(err.Error(), "replace the list as a whole") {
		t.Errorf("overrides that move a long list 5,000 times: %.300v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("the refusal took %s", took)
	}
	w.apply(w.config("small", "1", placed("a", "b")))
	w.within(soon, "an object beside them", func() { w.has("small", "a=1", "b=1") })
}

func TestGarbledPlacementsAndSelectorsReleaseAndDeleteNothing(t *testing.T) {
	w := newTenant(t, "garbled", "a "+east, "b "+west)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	base := w.get("web")
	for name, part := range map[string]map[string]any{
		"a placement that is a list":       {"placement": []any{map[string]any{"name": "a"}}},
		"a placement that is a word":       {"placement": "everywhere"},
		"names that are words":             {"placement": map[string]any{"topologies": []any{"a"}}},
		"a name that is a number":          {"placement": map[string]any{"topologies": []any{map[string]any{"name": int64(7)}}}},
		"an entry without a name":          {"placement": map[string]any{"topologies": []any{map[string]any{}}}},
		"an empty name":                    {"placement": map[string]any{"topologies": []any{map[string]any{"name": ""}}}},
		"a selector that is a word":        {"placement": map[string]any{"topologySelector": "all"}},
		"a label that is none":             {"placement": map[string]any{"topologySelector": map[string]any{"matchLabels": map[string]any{"a b": "x y!"}}}},
		"an operator that there is not":    {"placement": map[string]any{"topologySelector": map[string]any{"matchExpressions": []any{map[string]any{"key": "city", "operator": "Near", "values": []any{"x"}}}}}},
		"In of nothing":                    {"placement": map[string]any{"topologySelector": map[string]any{"matchExpressions": []any{map[string]any{"key": "city", "operator": "In", "values": []any{}}}}}},
		"a mask with a label that is none": {"placementMask": map[string]any{"topologySelector": map[string]any{"matchLabels": map[string]any{"a b": "x y!"}}}},
		"a mask that is a list":            {"placementMask": []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			u := base.DeepCopy()
			u.SetManagedFields(nil)
			u.SetResourceVersion("")
			spec := u.Object["spec"].(map[string]any)
			spec["template"] = map[string]any{"data": map[string]any{"version": "2"}}
			for key, value := range part {
				spec[key] = value
			}
			in := &tenant{T: t, ns: w.ns, at: w.at}
			err := in.replace(u)
			if err == nil {
				t.Error("the plane took it")
			} else if !strings.Contains(err.Error(), "spec.placement") {
				t.Errorf("the refusal does not say where: %v", err)
			}
		})
	}
	w.keeps("web", 2*time.Second, "a=1", "b=1")
	if g := w.get("web").GetGeneration(); g != base.GetGeneration() {
		t.Errorf("what was refused changed the object: generation %d → %d", base.GetGeneration(), g)
	}
	// A selector that matches nothing is taken: units may come. It places nothing, and says so by the number.
	w.apply(w.config("nowhere", "1", "  placement: {topologySelector: {matchLabels: {city: atlantis}}}\n"))
	w.told("nowhere", "True")
	if units, _, _ := unstructured.NestedString(w.get("nowhere").Object, "status", "summary", "units"); units != "0/0" {
		t.Errorf("status says %q units, want 0/0", units)
	}
	w.keeps("nowhere", time.Second, "a=", "b=")
	// One in the mask holds everything.
	w.apply(w.config("web", "3", placed("a", "b")+"  placementMask: {topologySelector: {matchLabels: {city: atlantis}}}\n"))
	w.keeps("web", 2*time.Second, "a=1", "b=1")
}
