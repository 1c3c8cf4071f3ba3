package admission

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/topology"
)

// FuzzBothForms holds that judging never panics, whatever a spec holds, and lets in through one form exactly what it
// lets in through the other.
func FuzzBothForms(f *testing.F) {
	for _, c := range specs {
		f.Add(c.spec)
	}
	f.Add(`{"topologyType":"cell","placement":{"topologies":[{"clusterName":"rz00a.acme-prod.cell"},{"clusterName":"x"},null]}}`)
	f.Add(`{"topologyType":"cell","placement":{"clusterSelector":{"matchLabels":{}},"topologySelector":null},"overrides":[{"clusterName":"","topologyName":"a"}]}`)
	a := newAdmitter(acme())
	f.Fuzz(func(t *testing.T, text string) {
		spec := map[string]any{}
		if utiljson.Unmarshal([]byte(text), &spec) != nil {
			return
		}
		obj := inTopologyForm(t, "{}")
		obj.Object["spec"] = spec
		other := &unstructured.Unstructured{Object: topology.ToClusterForm(obj.Object)}
		before := obj.DeepCopy()
		_, err := a.Validate(context.Background(), requestFor(obj, nil))
		_, otherErr := a.Validate(context.Background(), requestFor(other, nil))
		if (err == nil) != (otherErr == nil) {
			t.Errorf("topology form: %v\ncluster form: %v\n%s", err, otherErr, toJSON(t, other.Object["spec"]))
		}
		if toJSON(t, before.Object) != toJSON(t, obj.Object) {
			t.Error("judging changed the object")
		}
	})
}

// BenchmarkValidate is the whole of judging an update of an object with 64 units and as many overrides.
func BenchmarkValidate(b *testing.B) {
	facts := acme()
	var entries, overrides []string
	for i := range 64 {
		name := fmt.Sprintf("rz%02d", i)
		facts.units = append(facts.units, unit("acme-prod", name, "cell", nil))
		entries = append(entries, fmt.Sprintf(`{"name":%q}`, name))
		overrides = append(overrides, fmt.Sprintf(`{"topologyName":%q,"topologyOverrides":[{"path":"/spec/replicas","value":%d}]}`, name, i))
	}
	spec := func(replicas int) map[string]any {
		out := map[string]any{}
		err := utiljson.Unmarshal(fmt.Appendf(nil, `{"topologyType":"cell","placement":{"topologies":[%s]},"template":{"spec":{"replicas":%d}},"overrides":[%s]}`,
			strings.Join(entries, ","), replicas, strings.Join(overrides, ",")), &out)
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	object := func(replicas int) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": spec(replicas)}}
		u.SetAPIVersion("types.kubefed.io/v1beta1")
		u.SetKind("FederatedDeployment")
		u.SetNamespace("acme-prod")
		u.SetLabels(facts.namespaces["acme-prod"])
		u.Object = topology.ToClusterForm(u.Object)
		return u
	}
	a := newAdmitter(facts)
	req := requestFor(object(2), object(1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Validate(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}
