package propagation

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/topology"
)

// objectEvents enqueue federated objects that changed, but for the echo of our own writes.
func (k *carrier) objectEvents() toolscache.ResourceEventHandler {
	enqueue := func(obj any) {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			key := objectKey{u.GetNamespace(), u.GetName()}
			if !k.typ.OnlyDeletions || u.GetDeletionTimestamp() != nil { // nobody waits for what is not propagated
				k.meter.changed(key, u)
			}
			k.queue.Add(key)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(_, obj any) {
			u, ok := obj.(*unstructured.Unstructured)
			if ok && k.echo(objectKey{u.GetNamespace(), u.GetName()}, u) {
				return
			}
			enqueue(obj)
		},
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			enqueue(obj)
		},
	}
}

// memberEvent enqueues what a change in a member concerns.
func (k *carrier) memberEvent(e member.Event) {
	switch {
	case e.GVR.Empty():
		k.enqueueWhere(func(u *unstructured.Unstructured) bool { return true }, func(key objectKey) {
			k.ledger.ForgetFailures(k.ledgerKey(key), e.Member)
		})
	case e.GVR != k.typ.Target:
	case e.Name == "":
		k.enqueueWhere(func(*unstructured.Unstructured) bool { return true }, nil)
	default:
		k.copyEvent(e)
	}
}

// enqueueWhere enqueues the objects of the type for which a condition holds.
func (k *carrier) enqueueWhere(holds func(*unstructured.Unstructured) bool, before func(objectKey)) {
	for _, obj := range k.informer.GetStore().List() {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok || !holds(u) {
			continue
		}
		key := objectKey{u.GetNamespace(), u.GetName()}
		if before != nil {
			before(key)
		}
		k.queue.Add(key)
	}
}

// copyEvent enqueues the objects whose copy may be the member object that changed: the one of the plane namespace of
// the same name (topology "cluster"), and those of the units that live in the member's namespace.
func (k *carrier) copyEvent(e member.Event) {
	var observed *unstructured.Unstructured
	if m, err := k.opts.Fleet.Member(e.Member); err == nil {
		// It is not opened for this: the news may be of one that was just closed, because nobody may look there any more.
		if view, open := m.Opened(e.GVR); open {
			observed, _ = view.Get(e.Namespace, e.Name)
		}
	}
	if k.typ.ofNamespaces() {
		k.namespaceCopyEvent(e.Member, e.Name, observed)
		return
	}
	consider := func(namespace, unit, topologyType string) {
		key := objectKey{namespace, e.Name}
		obj, there, err := k.informer.GetStore().GetByKey(key.String())
		if err != nil || !there || topologyOf(obj) != topologyType {
			return
		}
		if k.ledger.Watched(k.ledgerKey(key), unit, observed) {
			k.queue.Add(key)
		}
	}
	consider(e.Namespace, e.Member, topology.TypeCluster)
	if !k.typ.Namespaced {
		return
	}
	for _, u := range k.unitsAt(e.Member, e.Namespace) {
		consider(u.Namespace, topology.UnitClusterName(u.Name, u.Namespace, u.Spec.TopologyType), u.Spec.TopologyType)
	}
}

// topologyOf is the topology type that a federated object says, without reading all of it.
func topologyOf(obj any) string {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		if t, _, _ := unstructured.NestedString(u.Object, "spec", "topologyType"); t != "" {
			return t
		}
	}
	return topology.TypeCluster
}

// MemberNamespaceIndex is the name of the cache index of units by member and member namespace.
const MemberNamespaceIndex = "memberNamespace"

// IndexMemberNamespace is the index function of MemberNamespaceIndex.
func IndexMemberNamespace(o client.Object) []string {
	u, ok := o.(*topologyv1alpha1.Unit)
	if !ok {
		return nil
	}
	return []string{memberNamespaceKey(u.Spec.Cluster, u.Spec.MemberNamespace)}
}

func memberNamespaceKey(member, namespace string) string { return member + "/" + namespace }

// UnitChanged enqueues the objects that a unit concerns: those of its namespace.
func (c *Controller) UnitChanged(namespace string) {
	for _, k := range c.carriers() {
		objects, err := k.informer.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace)
		if err != nil {
			utilruntime.HandleError(fmt.Errorf("finding the objects of namespace %s: %w", namespace, err))
			continue
		}
		for _, obj := range objects {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				k.queue.Add(objectKey{u.GetNamespace(), u.GetName()})
			}
		}
	}
}

// AbandonmentChanged enqueues everything: what was given up may be in any object's inventory.
func (c *Controller) AbandonmentChanged() {
	for _, k := range c.carriers() {
		k.enqueueWhere(func(*unstructured.Unstructured) bool { return true }, nil)
	}
}

// known waits until everything that plans are made of has been read once: the type's objects, the plane's caches, and
// word of each member that there is.
func (k *carrier) known(ctx context.Context) bool {
	if !k.opts.Cache.WaitForCacheSync(ctx) || !toolscache.WaitForCacheSync(ctx.Done(), k.informer.HasSynced) {
		return false
	}
	const patience = 15 * time.Second // a member whose first probe hangs must not hold up the others for ever
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !k.heardOfAll(ctx) {
		select {
		case <-ctx.Done():
			return false
		case <-deadline.C:
			return true
		case <-tick.C:
		}
	}
	return true
}

func (k *carrier) heardOfAll(ctx context.Context) bool {
	settled, err := k.opts.Settled(ctx)
	return err == nil && settled
}
