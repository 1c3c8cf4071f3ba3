package admission

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
)

// These questions are asked when somebody changes whose a namespace or a member is, which is seldom, and answered by the
// plane itself and not from caches, for all federated types that are served, whether they are propagated now or not.

const (
	inUseTimeout = 4 * liveTimeout
	inUsePage    = 500
)

var (
	unitsResource     = topologyv1alpha1.GroupVersion.WithResource("units")
	revisionsResource = propagationv1alpha1.GroupVersion.WithResource("revisions")
)

func clusterFacts(c *corev1beta1.KubeFedCluster) Cluster {
	facts := Cluster{Name: c.Name, Labels: c.Labels, Grants: c.Spec.Grants, ID: c.Annotations[wellknown.ClusterIDAnnotation]}
	if c.Spec.Tunnel == nil {
		facts.Endpoint = c.Spec.APIEndpoint
	}
	return facts
}

// InNamespace implements Facts.
func (f *LiveFacts) InNamespace(ctx context.Context, namespace string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, inUseTimeout)
	defer cancel()
	types, err := f.federatedTypes(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range append(types, servedType{unitsResource, "Unit"}, servedType{revisionsResource, "Revision"}) {
		name, err := f.first(ctx, t.gvr, namespace, 1, func(*unstructured.Unstructured) bool { return true })
		if err != nil || name != "" {
			return t.kind + " " + name, err
		}
	}
	return "", nil
}

// OnMember implements Facts.
func (f *LiveFacts) OnMember(ctx context.Context, member string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, inUseTimeout)
	defer cancel()
	name, err := f.first(ctx, unitsResource, metav1.NamespaceAll, inUsePage, func(u *unstructured.Unstructured) bool {
		return unitSpecOf(u).cluster == member
	})
	if err != nil || name != "" {
		return "Unit " + name, err
	}
	types, err := f.federatedTypes(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range types {
		name, err := f.first(ctx, t.gvr, metav1.NamespaceAll, inUsePage, func(u *unstructured.Unstructured) bool {
			o := federated.Read(u)
			entry, there := o.Status.Unit(member)
			return o.TopologyType == topology.TypeCluster && there && entry.Inventory
		})
		if err != nil || name != "" {
			return t.kind + " " + name, err
		}
	}
	return "", nil
}

// servedType is a type that may be in the way.
type servedType struct {
	gvr  schema.GroupVersionResource
	kind string
}

// federatedTypes are the federated types that the plane serves, in cluster form.
func (f *LiveFacts) federatedTypes(ctx context.Context) ([]servedType, error) {
	list, err := f.live.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")).
		List(ctx, metav1.ListOptions{LabelSelector: typeschema.ManagedByLabel + "=" + typeschema.ManagedBy})
	if err != nil {
		return nil, fmt.Errorf("listing federated types: %w", err)
	}
	var out []servedType
	for i := range list.Items {
		u := &list.Items[i]
		if _, ours := typeschema.IsOurs(u); !ours {
			continue
		}
		text := func(path ...string) string {
			s, _, _ := unstructured.NestedString(u.Object, path...)
			return s
		}
		gvr := schema.GroupVersionResource{Group: text("spec", "group"), Version: wellknown.ClusterForm, Resource: text("spec", "names", "plural")}
		out = append(out, servedType{gvr, text("spec", "names", "kind")})
	}
	return out, nil
}

// first names an object for which a condition holds; "" = there is none.
func (f *LiveFacts) first(ctx context.Context, gvr schema.GroupVersionResource, namespace string, page int64, holds func(*unstructured.Unstructured) bool) (string, error) {
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := f.live.Resource(gvr).Namespace(namespace).List(ctx, options)
		if apierrors.IsNotFound(err) {
			return "", nil // no such type is served: it never was, and has no objects
		}
		if err != nil {
			return "", fmt.Errorf("listing %s: %w", gvr.Resource, err)
		}
		for i := range list.Items {
			if u := &list.Items[i]; holds(u) {
				if namespace == "" && u.GetNamespace() != "" {
					return u.GetNamespace() + "/" + u.GetName(), nil
				}
				return u.GetName(), nil
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return "", nil
		}
	}
}
