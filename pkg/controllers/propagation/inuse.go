package propagation

import (
	"context"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// InUse tells whether a federated object may hold a copy in a unit, and which. It asks the plane itself and not the
// watches, for all federated types that are served, carried or not, configured still or not any more: a unit must not
// vanish from under a copy. A copy in a place that was given up holds nobody.
func (c *Controller) InUse(ctx context.Context, u *topologyv1alpha1.Unit) (bool, string, error) {
	name := topology.UnitClusterName(u.Name, u.Namespace, u.Spec.TopologyType)
	return c.used(ctx, u.Namespace, apiextensionsv1.NamespaceScoped, func(o *federated.Object, given []plan.Abandonment) bool {
		entry, there := o.Status.Unit(name)
		if there && entry.Cluster == "" {
			entry.Cluster, entry.MemberNamespace = u.Spec.Cluster, u.Spec.MemberNamespace
		}
		return there && holds(entry, given)
	})
}

// MemberInUse tells whether something of the plane may be in a member, and what: a unit, or a copy. What was given up
// holds nobody.
func (c *Controller) MemberInUse(ctx context.Context, member string) (bool, string, error) {
	given, err := c.given(ctx)
	if err != nil {
		return true, "", err
	}
	units := &topologyv1alpha1.UnitList{}
	if err := c.opts.Live.List(ctx, units); err != nil {
		return true, "", fmt.Errorf("listing units: %w", err)
	}
	for i := range units.Items {
		u := &units.Items[i]
		name := topology.UnitClusterName(u.Name, u.Namespace, u.Spec.TopologyType)
		if u.Spec.Cluster == member && !covered(given, name, member, "", u.Spec.MemberNamespace) {
			return true, fmt.Sprintf("unit %s in namespace %s", u.Name, u.Namespace), nil
		}
	}
	return c.used(ctx, metav1.NamespaceAll, "", func(o *federated.Object, given []plan.Abandonment) bool {
		return slices.ContainsFunc(o.Status.Units, func(e federated.UnitStatus) bool {
			if e.Cluster == "" && o.TopologyType == topology.TypeCluster {
				e.Cluster = e.Name
			}
			return e.Cluster == member && holds(e, given)
		})
	})
}

// Remaining tells how many objects of a federated type the plane still has a part in, and names some: those that may
// hold copies, or that carry the plane's finalizer.
func (c *Controller) Remaining(ctx context.Context, gvr schema.GroupVersionResource) (int, []string, error) {
	const named = 5
	n := 0
	var names []string
	err := c.each(ctx, gvr, metav1.NamespaceAll, func(u *unstructured.Unstructured) bool {
		o := federated.Read(u)
		if o.HasFinalizer || slices.ContainsFunc(o.Status.Units, func(e federated.UnitStatus) bool { return e.Inventory }) {
			if n++; len(names) < named {
				names = append(names, objectKey{o.Namespace, o.Name}.String())
			}
		}
		return true
	})
	return n, names, err
}

// used finds a federated object for which a condition holds, in a namespace or in all, of the types of a scope or of all.
func (c *Controller) used(ctx context.Context, namespace string, scope apiextensionsv1.ResourceScope,
	uses func(*federated.Object, []plan.Abandonment) bool,
) (bool, string, error) {
	given, err := c.given(ctx)
	if err != nil {
		return true, "", err
	}
	if holder := c.seen(namespace, func(o *federated.Object) bool { return uses(o, given) }); holder != "" {
		return true, holder, nil // the watches may be behind: then it is asked again
	}
	types, err := c.served(ctx, scope)
	if err != nil {
		return true, "", err
	}
	for _, t := range types {
		holder := ""
		err := c.each(ctx, t.resource, namespace, func(u *unstructured.Unstructured) bool {
			if uses(federated.Read(u), given) {
				holder = heldBy(u)
			}
			return holder == ""
		})
		if err != nil {
			return true, "", fmt.Errorf("asking the objects of %s: %w", t.resource.GroupResource(), err)
		}
		if holder != "" {
			return true, holder, nil
		}
	}
	return false, "", nil
}

// servedType is a federated type as the plane serves it, and the FederatedTypeConfig that it was made from.
type servedType struct {
	resource schema.GroupVersionResource
	config   string
}

// served are the federated types of a scope, or of all, that the plane serves, carried or not.
func (c *Controller) served(ctx context.Context, scope apiextensionsv1.ResourceScope) ([]servedType, error) {
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := c.opts.Live.List(ctx, list, client.MatchingLabels{typeschema.ManagedByLabel: typeschema.ManagedBy}); err != nil {
		return nil, fmt.Errorf("listing federated types: %w", err)
	}
	var out []servedType
	for i := range list.Items {
		t := &list.Items[i]
		if config, ours := typeschema.IsOurs(t); ours && (scope == "" || t.Spec.Scope == scope) {
			out = append(out, servedType{schema.GroupVersionResource{Group: t.Spec.Group, Version: wellknown.ClusterForm, Resource: t.Spec.Names.Plural}, config})
		}
	}
	return out, nil
}

// seen is an object that the watches know, and for which a condition holds; "" = none. It spares asking the plane while
// the answer is yes.
func (c *Controller) seen(namespace string, uses func(*federated.Object) bool) string {
	for _, k := range c.carriers() {
		objects := k.informer.GetStore().List()
		if namespace != metav1.NamespaceAll {
			var err error
			if objects, err = k.informer.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace); err != nil {
				continue
			}
		}
		for _, obj := range objects {
			if u, ok := obj.(*unstructured.Unstructured); ok && uses(federated.Read(u)) {
				return heldBy(u)
			}
		}
	}
	return ""
}

func heldBy(u *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s", u.GetKind(), objectKey{u.GetNamespace(), u.GetName()})
}

// each pages through the objects of a type, as the plane has them, until do returns false. A type that is not served
// has none.
func (c *Controller) each(ctx context.Context, gvr schema.GroupVersionResource, namespace string, do func(*unstructured.Unstructured) bool) error {
	options := metav1.ListOptions{Limit: 500}
	for {
		list, err := c.opts.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, options)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // no such type is served: it never was, and has no objects
		}
		for i := range list.Items {
			if !do(&list.Items[i]) {
				return nil
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// given are the places that were given up, as the plane has them now.
func (c *Controller) given(ctx context.Context) ([]plan.Abandonment, error) {
	list := &topologyv1alpha1.AbandonmentList{}
	if err := c.opts.Live.List(ctx, list); err != nil {
		return nil, fmt.Errorf("listing abandonments: %w", err)
	}
	var out []plan.Abandonment
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			out = append(out, given(&list.Items[i].Spec))
		}
	}
	return out, nil
}

// holds tells whether an entry says that there may be a copy in a place that was not given up.
func holds(e federated.UnitStatus, given []plan.Abandonment) bool {
	return e.Inventory && !covered(given, e.Name, e.Cluster, e.ClusterID, e.MemberNamespace)
}

func covered(given []plan.Abandonment, unit, cluster, id, namespace string) bool {
	return slices.ContainsFunc(given, func(a plan.Abandonment) bool { return a.Covers(unit, cluster, id, namespace) })
}
