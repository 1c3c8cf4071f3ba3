package propagation

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// planeWith is a controller that carries no type yet, on a plane with a FederatedTypeConfig of namespaces or without one.
func planeWith(t *testing.T, federatesNamespaces bool, objects ...runtime.Object) (*Controller, *dynamicfake.FakeDynamicClient) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	if federatesNamespaces {
		ftc := &corev1beta1.FederatedTypeConfig{ObjectMeta: metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: "namespaces"}}
		ftc.Spec.FederatedType.Kind = "FederatedNamespace"
		builder = builder.WithObjects(ftc)
	}
	plane := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatednamespaces"}: "FederatedNamespaceList"}, objects...)
	return &Controller{opts: Options{Client: builder.Build(), Dynamic: plane}, types: map[string]*carrier{}}, plane
}

func federatedNamespace(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedNamespace",
		"metadata": map[string]any{"namespace": name, "name": name}, "spec": map[string]any{"placement": map[string]any{"clusters": []any{}}}}}
}

// While no watch can tell yet whether there is a FederatedNamespace, one that is there must not be taken for none: objects
// would be placed where it does not admit them.
func TestAFederatedNamespaceThatNoWatchShowsYetIsAskedFor(t *testing.T) {
	c, _ := planeWith(t, true, federatedNamespace("acme"))
	if o, err := c.namespaceObject(t.Context(), "acme"); err != nil || o == nil || !o.Placement.Named {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := c.namespaceObject(t.Context(), "other"); err != nil || o != nil {
		t.Errorf("there is none, and it is %+v, %v", o, err)
	}

	c, plane := planeWith(t, true)
	plane.PrependReactor("get", "federatednamespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("storage is away")
	})
	if o, err := c.namespaceObject(t.Context(), "acme"); err == nil || o != nil {
		t.Errorf("nobody knows, and it is %+v, %v", o, err)
	}

	c, plane = planeWith(t, false, federatedNamespace("acme"))
	if o, err := c.namespaceObject(t.Context(), "acme"); err != nil || o != nil || len(plane.Actions()) != 0 {
		t.Errorf("namespaces are not federated: %+v, %v, %d requests", o, err, len(plane.Actions()))
	}
}

// What a watch does not show yet is seen before an object is placed anywhere for the first time, and not asked for else.
func TestThePlaneItselfIsAskedBeforeAnObjectIsPlacedAnew(t *testing.T) {
	c, plane := planeWith(t, true, federatedNamespace("acme"))
	k := &carrier{Controller: c, typ: Type{Namespaced: true, FederatedNamespaced: true}}
	in := plan.Input{Object: &federated.Object{Namespace: "acme", Name: "web", TopologyType: "cluster",
		Placement: federated.Selection{Named: true, Names: []string{"m1"}}}, Units: []plan.Unit{{Name: "m1", Member: "m1", MemberNamespace: "acme"}}}
	p := plan.Compute(in)
	if len(p.Intent) != 1 {
		t.Fatalf("without a FederatedNamespace: %+v", p)
	}
	if p, err := k.withLiveNamespace(t.Context(), &in, p); err != nil || len(p.Intent) != 0 || in.NamespaceObject == nil {
		t.Errorf("%+v, %v", p.Steps, err)
	}
	asked := len(plane.Actions())
	if _, err := k.withLiveNamespace(t.Context(), &in, plan.Plan{}); err != nil || len(plane.Actions()) != asked {
		t.Errorf("asked although nothing is placed anew, %v", err)
	}
}

func TestWhatLivesInANamespaceIsFoundByItsRecordedPlace(t *testing.T) {
	step := &plan.Step{Unit: "a.acme.cell", Member: "m1", Name: "acme-a"}
	object := func(e federated.UnitStatus) *federated.Object {
		return &federated.Object{Status: federated.Status{Units: []federated.UnitStatus{e}}}
	}
	for name, c := range map[string]struct {
		entry federated.UnitStatus
		lives bool
	}{
		"a copy there":                    {federated.UnitStatus{Name: "a.acme.cell", Inventory: true, Cluster: "m1", MemberNamespace: "acme-a"}, true},
		"a copy of another unit there":    {federated.UnitStatus{Name: "x.other.zone", Inventory: true, Cluster: "m1", MemberNamespace: "acme-a"}, true},
		"a copy in another member":        {federated.UnitStatus{Name: "a.acme.cell", Inventory: true, Cluster: "m2", MemberNamespace: "acme-a"}, false},
		"a copy in another namespace":     {federated.UnitStatus{Name: "a.acme.cell", Inventory: true, Cluster: "m1", MemberNamespace: "acme-b"}, false},
		"a copy that does not say where":  {federated.UnitStatus{Name: "a.acme.cell", Inventory: true}, true},
		"an entry that holds no copy":     {federated.UnitStatus{Name: "a.acme.cell", Cluster: "m1", MemberNamespace: "acme-a"}, false},
		"another unit, nobody says where": {federated.UnitStatus{Name: "b.acme.cell", Inventory: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if livesIn(object(c.entry), step) != c.lives {
				t.Errorf("lives there: %v, want %v", !c.lives, c.lives)
			}
		})
	}
}

func TestWhyAFederatedNamespaceIsHeld(t *testing.T) {
	for name, want := range map[string]string{"acme/acme": "", "acme/web": plan.CodeInvalidName, "default/default": plan.CodeOnHold,
		"kube-system/kube-system": plan.CodeOnHold, "kube-federation-system/kube-federation-system": plan.CodeOnHold, "kube-node-lease/kube-node-lease": plan.CodeOnHold} {
		u := federatedNamespace("x")
		ns, of, _ := strings.Cut(name, "/")
		u.SetNamespace(ns)
		u.SetName(of)
		got := ""
		if why := namespaceHold(federated.Read(u)); why != nil {
			got = why.Code
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	units := []plan.Unit{{Name: "a", MemberNamespace: "kube-public"}, {Name: "b", MemberNamespace: "acme-b"}}
	asNamespace(units)
	if units[0].Problem == nil || units[1].Problem != nil || units[1].CopyName != "acme-b" {
		t.Errorf("%+v", units)
	}
}
