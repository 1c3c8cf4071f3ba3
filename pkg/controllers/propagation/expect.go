package propagation

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/topology"
)

// What a copy may take in memory beyond its template: what the member adds to the template, times the template, and
// what it says of its own (status), at least.
const (
	growth      = 4
	copysOwn    = 128 << 10
	weighedFor  = 10 * time.Second
	everyMember = ""
)

// expectation says what the type's copies may take in members, so that a member that shows much more is not believed.
func (k *carrier) expectation() member.Expectation {
	e := &expected{carrier: k}
	return member.Expectation{Kind: k.typ.TargetKind, Namespaced: k.typ.Namespaced, Weight: e.weight}
}

// expected keeps sums for a while: they are asked for with each object of a member that shows much.
type expected struct {
	*carrier
	mu    sync.Mutex
	until time.Time
	sums  map[string]int64 // by member; everyMember is what each may have
}

func (e *expected) weight(name string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.opts.Now(); now.After(e.until) {
		e.sums, e.until = e.weigh(), now.Add(weighedFor)
	}
	return e.sums[everyMember] + e.sums[name]
}

// weigh sums up the objects of topology "cluster", which may be in every member, and by member those of units, once
// for each unit of their namespace there.
func (e *expected) weigh() map[string]int64 {
	byNamespace, sums := map[string]int64{}, map[string]int64{}
	for _, obj := range e.informer.GetStore().List() {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		template, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "template")
		overrides, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "overrides")
		weight := copysOwn + growth*member.Weigh(map[string]any{"template": template, "overrides": overrides})
		switch {
		case topologyOf(u) != topology.TypeCluster:
			byNamespace[u.GetNamespace()] += weight
		default:
			sums[everyMember] += weight
		}
	}
	units := &topologyv1alpha1.UnitList{}
	//nolint:forbidigo // The cache answers from memory, at once; who asks reads a member and has no context of the plane's.
	if err := e.opts.Client.List(context.Background(), units, client.UnsafeDisableDeepCopy); err != nil {
		return e.sums // as before: nobody is to be distrusted for what the plane does not know
	}
	for i := range units.Items {
		u := &units.Items[i]
		sums[u.Spec.Cluster] += byNamespace[u.Namespace]
	}
	return sums
}
