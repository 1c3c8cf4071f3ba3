package propagation

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/topology"
)

// InUse tells whether a federated object may hold a copy in a unit, and which. It asks the plane itself and not the
// watches, for all types that there are, carried or not: a unit must not vanish from under a copy.
func (c *Controller) InUse(ctx context.Context, u *topologyv1alpha1.Unit) (bool, string, error) {
	name := topology.UnitClusterName(u.Name, u.Namespace, u.Spec.TopologyType)
	types := &corev1beta1.FederatedTypeConfigList{}
	if err := c.opts.Client.List(ctx, types, client.InNamespace(wellknown.FederationNamespace)); err != nil {
		return true, "", fmt.Errorf("listing federated types: %w", err)
	}
	for i := range types.Items {
		t := &types.Items[i].Spec.FederatedType
		gvr := schema.GroupVersionResource{Group: t.Group, Version: wellknown.ClusterForm, Resource: t.PluralName}
		holder, err := c.holder(ctx, gvr, u.Namespace, name)
		if err != nil {
			return true, "", fmt.Errorf("asking the objects of %s: %w", types.Items[i].Name, err)
		}
		if holder != "" {
			return true, fmt.Sprintf("%s %s", t.Kind, holder), nil
		}
	}
	return false, "", nil
}

// holder names an object of a type whose inventory has a unit; "" = none has.
func (c *Controller) holder(ctx context.Context, gvr schema.GroupVersionResource, namespace, unit string) (string, error) {
	options := metav1.ListOptions{Limit: 500}
	for {
		list, err := c.opts.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, options)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		if err != nil {
			return "", nil // no such type is served: it never was, and has no objects
		}
		for i := range list.Items {
			if holds(&list.Items[i], unit) {
				return list.Items[i].GetName(), nil
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return "", nil
		}
	}
}

func holds(u *unstructured.Unstructured, unit string) bool {
	o := federated.Read(u)
	entry, there := o.Status.Unit(unit)
	return there && entry.Inventory
}
