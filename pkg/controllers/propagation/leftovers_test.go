package propagation

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

var federatedConfigMaps = schema.GroupVersionResource{Group: "types.kubefed.io", Version: "v1beta1", Resource: "federatedconfigmaps"}

// recorded is a FederatedConfigMap whose status has one entry.
func recorded(entry map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "types.kubefed.io/v1beta1", "kind": "FederatedConfigMap",
		"metadata": map[string]any{"namespace": "acme", "name": "web", "uid": "uid", "resourceVersion": "1"},
		"spec":     map[string]any{"topologyType": "cell"}, "status": map[string]any{"clusters": []any{entry}}}}
	return u
}

func entryIn(cluster, namespace string) map[string]any {
	return map[string]any{"name": "a.acme.cell", "inventory": true, "cluster": cluster, "memberNamespace": namespace, "clusterID": "id-1"}
}

func TestACopyIsALeftoverWhenNoFederatedObjectKeepsIt(t *testing.T) {
	mark := federated.Owner{Plane: "p", UID: "uid", Unit: "a.acme.cell", Revision: "r"}
	for name, tc := range map[string]struct {
		stored *unstructured.Unstructured
		change func(*federated.Owner, *metav1.ObjectMeta)
		want   bool
	}{
		"its object keeps it":                       {recorded(entryIn("m1", "acme")), nil, false},
		"an old record does not say where":          {recorded(entryIn("", "")), nil, false},
		"its object is gone":                        {nil, nil, true},
		"another object has the name":               {recorded(entryIn("m1", "acme")), func(o *federated.Owner, _ *metav1.ObjectMeta) { o.UID = "before" }, true},
		"its object has it in another member":       {recorded(entryIn("m2", "acme")), nil, true},
		"its object has it in another namespace":    {recorded(entryIn("m1", "other")), nil, true},
		"its object has another unit":               {recorded(entryIn("m1", "acme")), func(o *federated.Owner, _ *metav1.ObjectMeta) { o.Unit = "b.acme.cell" }, true},
		"its entry only tells why nothing was done": {recorded(map[string]any{"name": "a.acme.cell", "status": "Abandoned"}), nil, true},
		"another plane made it":                     {nil, func(o *federated.Owner, _ *metav1.ObjectMeta) { o.Plane = "q" }, false},
		"it is going":                               {nil, func(_ *federated.Owner, m *metav1.ObjectMeta) { m.DeletionTimestamp = &metav1.Time{} }, false},
		"it has no mark: nobody knows whose it is":  {nil, func(o *federated.Owner, _ *metav1.ObjectMeta) { *o = federated.Owner{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := &carrier{Controller: &Controller{}, plane: "p", typ: Type{Name: "configmaps", Namespaced: true}, written: map[objectKey]*unstructured.Unstructured{}}
			k.informer = dynamicinformer.NewFilteredDynamicInformer(dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()), federatedConfigMaps, "", 0,
				cache.Indexers{uidIndex: byUID}, nil).Informer()
			if tc.stored != nil {
				if err := k.informer.GetIndexer().Add(tc.stored); err != nil {
					t.Fatal(err)
				}
			}
			owner, found := mark, metav1.ObjectMeta{Namespace: "acme", Name: "web", UID: "copy"}
			if tc.change != nil {
				tc.change(&owner, &found)
			}
			found.Annotations = map[string]string{wellknown.OwnerAnnotation: owner.String()}
			l, left := k.leftover("m1", &found)
			if left != tc.want {
				t.Errorf("a leftover: %v, want %v", left, tc.want)
			}
			if left && (l.Type != "configmaps" || l.Name != "web" || l.Unit != owner.Unit) {
				t.Errorf("it is told as %+v", l)
			}
		})
	}
}

// asked is a plane with a FederatedConfigMap and a unit on m1.
func asked(t *testing.T, stored *unstructured.Unstructured, given ...topologyv1alpha1.AbandonmentSpec) *Controller {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{topologyv1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "federatedconfigmaps.types.kubefed.io",
		Labels: map[string]string{typeschema.ManagedByLabel: typeschema.ManagedBy}, Annotations: map[string]string{typeschema.TypeConfigAnnotation: "configmaps"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "types.kubefed.io", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "federatedconfigmaps", Kind: "FederatedConfigMap"}}}
	objects := []client.Object{crd}
	for i, spec := range given {
		objects = append(objects, &topologyv1alpha1.Abandonment{ObjectMeta: metav1.ObjectMeta{Name: string(rune('a' + i))}, Spec: spec})
	}
	c := New(Options{
		Live:    fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(),
		Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{federatedConfigMaps: "FederatedConfigMapList"}, stored),
	})
	return c
}

func TestWhatHoldsACopyIsInUseUntilItsPlaceWasGivenUp(t *testing.T) {
	unit := &topologyv1alpha1.Unit{ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "a", UID: types.UID("u")},
		Spec: topologyv1alpha1.UnitSpec{TopologyType: "cell", Cluster: "m1", MemberNamespace: "acme"}}
	for name, tc := range map[string]struct {
		entry map[string]any
		given []topologyv1alpha1.AbandonmentSpec
		want  bool
	}{
		"a copy":                               {entryIn("m1", "acme"), nil, true},
		"a copy that an old record tells of":   {map[string]any{"name": "a.acme.cell", "inventory": true}, nil, true},
		"no copy":                              {map[string]any{"name": "a.acme.cell", "status": "UnitNotReady"}, nil, false},
		"its member was given up":              {entryIn("m1", "acme"), []topologyv1alpha1.AbandonmentSpec{{Cluster: "m1", ClusterID: "id-1"}}, false},
		"another cluster was given up":         {entryIn("m1", "acme"), []topologyv1alpha1.AbandonmentSpec{{Cluster: "m1", ClusterID: "id-0"}}, true},
		"an old record, its member is given":   {map[string]any{"name": "a.acme.cell", "inventory": true}, []topologyv1alpha1.AbandonmentSpec{{Cluster: "m1"}}, false},
		"another unit of the member was given": {entryIn("m1", "acme"), []topologyv1alpha1.AbandonmentSpec{{Cluster: "m1", Unit: "b.acme.cell"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := asked(t, recorded(tc.entry), tc.given...)
			used, what, err := c.InUse(t.Context(), unit)
			if err != nil || used != tc.want || used && !strings.Contains(what, "FederatedConfigMap acme/web") {
				t.Errorf("the unit is in use: %v by %q, %v; want %v", used, what, err, tc.want)
			}
			if tc.entry["cluster"] == nil {
				return // the record tells of no member: its unit holds that
			}
			if used, _, err := c.MemberInUse(t.Context(), "m1"); err != nil || used != tc.want {
				t.Errorf("the member is in use: %v, %v; want %v", used, err, tc.want)
			}
			if used, _, err := c.MemberInUse(t.Context(), "m2"); err != nil || used {
				t.Errorf("another member is in use: %v, %v", used, err)
			}
		})
	}
}
