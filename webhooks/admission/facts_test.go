package admission

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
)

// fakeFacts are facts as written, or none at all.
type fakeFacts struct {
	namespaces map[string]map[string]string
	units      []*topologyv1alpha1.Unit
	clusters   []Cluster
	claims     map[string]topologyv1alpha1.UnitReference
	types      map[schema.GroupKind]TypeFacts
	// inNamespace and onMember are what stands in the way of another owner.
	inNamespace, onMember map[string]string
	err                   error
	asked                 int
}

func (f *fakeFacts) ask() error { f.asked++; return f.err }

func (f *fakeFacts) NamespaceLabels(_ context.Context, name string) (map[string]string, bool, error) {
	l, ok := f.namespaces[name]
	return l, ok, f.ask()
}

func (f *fakeFacts) Unit(_ context.Context, namespace, name string) (*topologyv1alpha1.Unit, bool, error) {
	for _, u := range f.units {
		if u.Namespace == namespace && u.Name == name {
			return u, true, f.ask()
		}
	}
	return nil, false, f.ask()
}

func (f *fakeFacts) Units(_ context.Context, namespace string) (out []*topologyv1alpha1.Unit, _ error) {
	for _, u := range f.units {
		if u.Namespace == namespace {
			out = append(out, u)
		}
	}
	return out, f.ask()
}

func (f *fakeFacts) Cluster(_ context.Context, name string) (Cluster, bool, error) {
	for _, c := range f.clusters {
		if c.Name == name {
			return c, true, f.ask()
		}
	}
	return Cluster{}, false, f.ask()
}

func (f *fakeFacts) Clusters(context.Context) ([]Cluster, error) { return f.clusters, f.ask() }

func (f *fakeFacts) Claim(_ context.Context, name string) (*topologyv1alpha1.MemberNamespaceClaim, bool, error) {
	unit, ok := f.claims[name]
	return &topologyv1alpha1.MemberNamespaceClaim{Spec: topologyv1alpha1.MemberNamespaceClaimSpec{Unit: unit}}, ok, f.ask()
}

func (f *fakeFacts) FederatedType(_ context.Context, gk schema.GroupKind) (TypeFacts, bool, error) {
	t, ok := f.types[gk]
	return t, ok, f.ask()
}

func (f *fakeFacts) InNamespace(_ context.Context, namespace string) (string, error) {
	return f.inNamespace[namespace], f.ask()
}

func (f *fakeFacts) OnMember(_ context.Context, name string) (string, error) {
	return f.onMember[name], f.ask()
}

func unit(namespace, name, topologyType string, labels map[string]string) *topologyv1alpha1.Unit {
	return &topologyv1alpha1.Unit{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: topologyv1alpha1.UnitSpec{TopologyType: topologyType, Cluster: "hz-1", MemberNamespace: namespace}}
}

// acme is a plane with two cells and a zone in acme-prod, and another tenant.
func acme() *fakeFacts {
	return &fakeFacts{
		namespaces: map[string]map[string]string{
			"acme-prod":               {"tenancy.cellfed.io/tenant": "acme", "tenancy.cellfed.io/workspace": "prod"},
			"rival":                   {"tenancy.cellfed.io/tenant": "rival"},
			"kube-federation-system":  nil,
			"nobody":                  nil,
			strings.Repeat("n", 63):   nil,
			"cellfed-units":           nil,
			"kube-federation-system2": nil,
		},
		units: []*topologyv1alpha1.Unit{
			unit("acme-prod", "rz00a", "cell", map[string]string{"city": "hangzhou"}), unit("acme-prod", "rz01a", "cell", nil),
			unit("acme-prod", "east", "zone", nil), unit("rival", "rz77x", "cell", nil),
		},
		clusters: []Cluster{{Name: "hz-1", Labels: map[string]string{"city": "hangzhou"}}, {Name: "sh-1"}},
		claims: map[string]topologyv1alpha1.UnitReference{
			"rival-a.hz-1": {Namespace: "rival", Name: "rz77x"}, "left.hz-1": {Namespace: "rival", Name: "rz78x"},
			"before.hz-1": {Namespace: "rival", Name: "rz77x", UID: "of one that was before"},
		},
		types: map[schema.GroupKind]TypeFacts{
			{Group: "types.kubefed.io", Kind: "FederatedDeployment"}:  {ConfigName: "deployments.apps", TargetGroup: "apps", TargetKind: "Deployment", Ours: true},
			{Group: "types.kubefed.io", Kind: "FederatedClusterRole"}: {ConfigName: "clusterroles.rbac.authorization.k8s.io", TargetGroup: "rbac.authorization.k8s.io", TargetKind: "ClusterRole", Ours: true},
		},
	}
}

func newAdmitter(f Facts) *Admitter { return New(f, Options{TopologyTypes: []string{"cell", "zone"}}) }

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	content := map[string]any{}
	if err := utiljson.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return &unstructured.Unstructured{Object: content}
}

func requestFor(obj, old *unstructured.Unstructured) *Request {
	return &Request{Create: old == nil, Kind: obj.GroupVersionKind(), Namespace: obj.GetNamespace(), Object: obj, Old: old}
}

// causes are the fields and messages of an Invalid error.
func causes(t *testing.T, err error) []string {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonInvalid {
		t.Fatalf("not an Invalid error: %v", err)
	}
	var out []string
	for _, c := range status.Status().Details.Causes {
		out = append(out, c.Field+": "+c.Message)
	}
	return out
}

// wantFault holds that there is one fault, at a field, with a text; or none.
func wantFault(t *testing.T, err error, fieldPath, text string) {
	t.Helper()
	if fieldPath == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Errorf("let in, want a fault at %s with %q", fieldPath, text)
		return
	}
	got := causes(t, err)
	if len(got) != 1 || !strings.HasPrefix(got[0], fieldPath+": ") || !strings.Contains(got[0], text) {
		t.Errorf("got:\n%s\nwant one fault at %s with %q", strings.Join(got, "\n"), fieldPath, text)
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
