package propagation

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// InUse tells whether a federated object may hold a copy in a unit, and which. It asks the plane itself and not the
// watches, for all federated types that are served, carried or not, configured still or not any more: a unit must not
// vanish from under a copy.
func (c *Controller) InUse(ctx context.Context, u *topologyv1alpha1.Unit) (bool, string, error) {
	name := topology.UnitClusterName(u.Name, u.Namespace, u.Spec.TopologyType)
	types := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := c.opts.Live.List(ctx, types, client.MatchingLabels{typeschema.ManagedByLabel: typeschema.ManagedBy}); err != nil {
		return true, "", fmt.Errorf("listing federated types: %w", err)
	}
	for i := range types.Items {
		t := &types.Items[i]
		if _, ours := typeschema.IsOurs(t); !ours || t.Spec.Scope != apiextensionsv1.NamespaceScoped {
			continue
		}
		gvr := schema.GroupVersionResource{Group: t.Spec.Group, Version: wellknown.ClusterForm, Resource: t.Spec.Names.Plural}
		holder, err := c.holder(ctx, gvr, u.Namespace, name)
		if err != nil {
			return true, "", fmt.Errorf("asking the objects of %s: %w", t.Name, err)
		}
		if holder != "" {
			return true, fmt.Sprintf("%s %s", t.Spec.Names.Kind, holder), nil
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
			return "", nil //nolint:nilerr // no such type is served: it never was, and has no objects
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
