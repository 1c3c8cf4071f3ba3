package propagation

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
)

func TestAMemberMayShowWhatItsUnitsWereAskedToHold(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := topologyv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	unit := func(namespace, name, member string) *topologyv1alpha1.Unit {
		return &topologyv1alpha1.Unit{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: topologyv1alpha1.UnitSpec{Cluster: member}}
	}
	client := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		unit("shop", "a", "east"), unit("shop", "b", "east"), unit("shop", "c", "west"), unit("other", "d", "north")).Build()
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{}, &unstructured.Unstructured{}, 0, cache.Indexers{})
	object := func(name, topologyType string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": "shop", "name": name},
			"spec": map[string]any{"topologyType": topologyType, "template": map[string]any{"data": strings.Repeat("x", 1<<20)}}}}
	}
	if err := informer.GetStore().Add(object("web", "cell")); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	k := &carrier{Controller: &Controller{opts: Options{Client: client, Now: func() time.Time { return now }}}, informer: informer}
	weight := k.expectation().Weight
	for member, copies := range map[string]int64{"east": 2, "west": 1, "north": 0, "": 0} {
		if got, least := weight(member), copies*4<<20; got < least || got > least+copies<<20 {
			t.Errorf("%q may show %d bytes, want about %d: %d copies of 1 MiB", member, got, least, copies)
		}
	}
	// An object of topology "cluster" may be anywhere, and counts when the sums are made anew.
	if err := informer.GetStore().Add(object("base", "cluster")); err != nil {
		t.Fatal(err)
	}
	if weight("north") != 0 {
		t.Error("the sums are made anew each time")
	}
	now = now.Add(time.Minute)
	if got := weight("north"); got < 4<<20 {
		t.Errorf("a member without units may show %d bytes of what is placed everywhere", got)
	}
}
