package unit

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/topology"
)

// memberField indexes units by the member they live on.
const memberField = "spec.cluster"

func memberOf(o client.Object) []string {
	return []string{o.(*topologyv1alpha1.Unit).Spec.Cluster}
}

// SetupWithManager makes mgr run the controller.
func (c *Controller) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &topologyv1alpha1.Unit{}, memberField, memberOf); err != nil {
		return fmt.Errorf("indexing units by member: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("unit").
		WithOptions(controller.Options{MaxConcurrentReconciles: c.opts.Concurrency}).
		For(&topologyv1alpha1.Unit{}).
		Watches(&corev1beta1.KubeFedCluster{}, handler.EnqueueRequestsFromMapFunc(c.unitsOfCluster)).
		Watches(&topologyv1alpha1.Abandonment{}, handler.EnqueueRequestsFromMapFunc(c.unitsGivenUp), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.unitsOfSecret)).
		Watches(&topologyv1alpha1.MemberNamespaceClaim{}, handler.EnqueueRequestsFromMapFunc(c.claimants)).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(c.unitsOfNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(source.Channel(c.regranted, handler.EnqueueRequestsFromMapFunc(c.all))).
		Complete(c)
}

// RequirementChanged has all units looked at: whether grants are required is other than it was, and no object tells.
func (c *Controller) RequirementChanged() {
	select {
	case c.regranted <- event.GenericEvent{Object: &topologyv1alpha1.Unit{}}:
	default: // they are about to be looked at
	}
}

func (c *Controller) all(ctx context.Context, _ client.Object) []reconcile.Request {
	var list topologyv1alpha1.UnitList
	if err := c.client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing all units")
		return nil
	}
	return requests(list.Items)
}

// unitsGivenUp finds the units that an abandonment may be about: those that wait with their going need not any more.
func (c *Controller) unitsGivenUp(ctx context.Context, o client.Object) []reconcile.Request {
	return requests(c.unitsOn(ctx, o.(*topologyv1alpha1.Abandonment).Spec.Cluster))
}

// unitsOfCluster finds the units that a KubeFedCluster matters to: all of a physical one, the one that it is of.
func (c *Controller) unitsOfCluster(ctx context.Context, o client.Object) []reconcile.Request {
	switch o.GetNamespace() {
	case wellknown.FederationNamespace:
		return requests(c.unitsOn(ctx, o.GetName()))
	case wellknown.UnitsNamespace:
		if unit, namespace, _, ok := topology.ParseUnitClusterName(o.GetName()); ok {
			return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: namespace, Name: unit}}}
		}
	}
	return nil
}

func (c *Controller) unitsOfSecret(ctx context.Context, o client.Object) []reconcile.Request {
	switch o.GetNamespace() {
	case wellknown.UnitsNamespace: // a copy is named after its member
		return requests(c.unitsOn(ctx, o.GetName()))
	case wellknown.FederationNamespace:
		var list corev1beta1.KubeFedClusterList
		if err := c.client.List(ctx, &list, client.InNamespace(wellknown.FederationNamespace)); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Finding the members that use a secret", "secret", o.GetName())
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			if list.Items[i].Spec.SecretRef.Name == o.GetName() {
				out = append(out, requests(c.unitsOn(ctx, list.Items[i].Name))...)
			}
		}
		return out
	}
	return nil
}

func (c *Controller) unitsOfNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var list topologyv1alpha1.UnitList
	if err := c.client.List(ctx, &list, client.InNamespace(o.GetName())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the units of a namespace", "namespace", o.GetName())
		return nil
	}
	return requests(list.Items)
}
