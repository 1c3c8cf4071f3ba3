package admission

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// liveTimeout bounds a look-up past the caches. The request that it is for waits.
const liveTimeout = 5 * time.Second

// LiveFacts are the facts of a running plane: read from caches while these are filled, and from the API server where a
// cache does not know a name, since it may be behind by a moment. It works before Run, only slower.
type LiveFacts struct {
	namespaces *source[corev1.Namespace]
	units      *source[topologyv1alpha1.Unit]
	clusters   *source[corev1beta1.KubeFedCluster]
	claims     *source[topologyv1alpha1.MemberNamespaceClaim]
	types      *source[corev1beta1.FederatedTypeConfig]
	configs    *source[storedConfig]
	live       dynamic.Interface
}

var _ Facts = &LiveFacts{}

// NewLiveFacts makes facts that are read through a connection. It does not connect: in the plane it is called before
// the API server serves.
func NewLiveFacts(cfg *rest.Config) (*LiveFacts, error) {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making the client of admission: %w", err)
	}
	return factsThrough(client), nil
}

func factsThrough(client dynamic.Interface) *LiveFacts {
	topologies, core := topologyv1alpha1.GroupVersion, corev1beta1.GroupVersion
	return &LiveFacts{
		live:       client,
		namespaces: newSource[corev1.Namespace](client, corev1.SchemeGroupVersion.WithResource("namespaces"), metav1.NamespaceAll, nil),
		units:      newSource[topologyv1alpha1.Unit](client, topologies.WithResource("units"), metav1.NamespaceAll, nil),
		clusters:   newSource[corev1beta1.KubeFedCluster](client, core.WithResource("kubefedclusters"), wellknown.FederationNamespace, nil),
		claims:     newSource[topologyv1alpha1.MemberNamespaceClaim](client, topologies.WithResource("membernamespaceclaims"), metav1.NamespaceAll, nil),
		configs:    newSource[storedConfig](client, core.WithResource("kubefedconfigs"), wellknown.FederationNamespace, nil),
		types: newSource[corev1beta1.FederatedTypeConfig](client, core.WithResource("federatedtypeconfigs"), wellknown.FederationNamespace,
			cache.Indexers{byKind: func(obj any) ([]string, error) { return []string{kindOf(obj).String()}, nil }}),
	}
}

// Run keeps the caches until ctx ends. It is called once, when the API server serves the plane's CRDs.
func (f *LiveFacts) Run(ctx context.Context) error {
	informers := []cache.SharedIndexInformer{f.namespaces.informer, f.units.informer, f.clusters.informer, f.claims.informer, f.types.informer, f.configs.informer}
	done := make(chan struct{}, len(informers))
	for _, i := range informers {
		go func() {
			defer func() { done <- struct{}{} }()
			i.RunWithContext(ctx)
		}()
	}
	for range informers {
		<-done
	}
	return nil
}

// NamespaceLabels implements Facts.
func (f *LiveFacts) NamespaceLabels(ctx context.Context, name string) (map[string]string, bool, error) {
	ns, found, err := f.namespaces.get(ctx, "", name)
	if !found {
		return nil, false, err
	}
	return ns.Labels, true, nil
}

// Unit implements Facts.
func (f *LiveFacts) Unit(ctx context.Context, namespace, name string) (*topologyv1alpha1.Unit, bool, error) {
	return f.units.get(ctx, namespace, name)
}

// Units implements Facts.
func (f *LiveFacts) Units(ctx context.Context, namespace string) ([]*topologyv1alpha1.Unit, error) {
	return f.units.list(ctx, namespace)
}

// Cluster implements Facts.
func (f *LiveFacts) Cluster(ctx context.Context, name string) (Cluster, bool, error) {
	c, found, err := f.clusters.get(ctx, wellknown.FederationNamespace, name)
	if !found {
		return Cluster{}, false, err
	}
	return clusterFacts(c), true, nil
}

// Clusters implements Facts.
func (f *LiveFacts) Clusters(ctx context.Context) ([]Cluster, error) {
	list, err := f.clusters.list(ctx, wellknown.FederationNamespace)
	out := make([]Cluster, 0, len(list))
	for _, c := range list {
		out = append(out, clusterFacts(c))
	}
	return out, err
}

// Claim implements Facts.
func (f *LiveFacts) Claim(ctx context.Context, name string) (*topologyv1alpha1.MemberNamespaceClaim, bool, error) {
	return f.claims.get(ctx, "", name)
}

// FederatedType implements Facts.
func (f *LiveFacts) FederatedType(ctx context.Context, gk schema.GroupKind) (TypeFacts, bool, error) {
	if known, err := f.types.informer.GetIndexer().ByIndex(byKind, gk.String()); err == nil && len(known) != 0 {
		if c, ok := known[0].(*corev1beta1.FederatedTypeConfig); ok {
			return typeFacts(c), true, nil
		}
	}
	list, err := f.types.listLive(ctx, wellknown.FederationNamespace)
	if err != nil {
		return TypeFacts{}, false, err
	}
	for _, c := range list {
		if kindOf(c) == gk {
			return typeFacts(c), true, nil
		}
	}
	return TypeFacts{}, false, nil
}

const byKind = "federatedKind"

func kindOf(obj any) schema.GroupKind {
	c, ok := obj.(*corev1beta1.FederatedTypeConfig)
	if !ok {
		return schema.GroupKind{}
	}
	return schema.GroupKind{Group: c.Spec.FederatedType.Group, Kind: c.Spec.FederatedType.Kind}
}

func typeFacts(c *corev1beta1.FederatedTypeConfig) TypeFacts {
	return TypeFacts{
		ConfigName:  c.Name,
		TargetGroup: c.Spec.TargetType.Group,
		TargetKind:  c.Spec.TargetType.Kind,
		Ours:        c.Spec.Propagator != corev1beta1.PropagatorKubeFed && c.DeletionTimestamp == nil,
	}
}

// source reads objects of one type.
type source[T any] struct {
	live     dynamic.NamespaceableResourceInterface
	resource string
	informer cache.SharedIndexInformer
	synced   atomic.Bool
}

func newSource[T any](client dynamic.Interface, gvr schema.GroupVersionResource, namespace string, indexers cache.Indexers) *source[T] {
	all := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	for name, f := range indexers {
		all[name] = f
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(client, gvr, namespace, 0, all, nil).Informer()
	s := &source[T]{live: client.Resource(gvr), resource: gvr.Resource, informer: informer}
	// Objects are kept as what they are read as: converting at every look-up would cost more than the look-up. One that
	// cannot be read stays as it is, so that it stops nobody else's. Setting fails only on an informer that runs already.
	_ = informer.SetTransform(func(obj any) (any, error) {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			if t, err := convert[T](u); err == nil {
				return t, nil
			}
		}
		return obj, nil
	})
	return s
}

func convert[T any](u *unstructured.Unstructured) (*T, error) {
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("reading %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return out, nil
}

// ready tells whether the cache has been filled once.
func (s *source[T]) ready() bool {
	if !s.synced.Load() && s.informer.HasSynced() {
		s.synced.Store(true)
	}
	return s.synced.Load()
}

func (s *source[T]) get(ctx context.Context, namespace, name string) (*T, bool, error) {
	key := name
	if namespace != "" {
		key = namespace + "/" + name
	}
	if obj, found, err := s.informer.GetIndexer().GetByKey(key); err == nil && found {
		if t, ok := obj.(*T); ok {
			return t, true, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	u, err := s.live.Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading %s %s: %w", s.resource, key, err)
	}
	t, err := convert[T](u)
	return t, err == nil, err
}

func (s *source[T]) list(ctx context.Context, namespace string) ([]*T, error) {
	if !s.ready() {
		return s.listLive(ctx, namespace)
	}
	var out []*T
	err := cache.ListAllByNamespace(s.informer.GetIndexer(), namespace, labels.Everything(), func(obj any) {
		if t, ok := obj.(*T); ok {
			out = append(out, t)
		}
	})
	return out, err
}

func (s *source[T]) listLive(ctx context.Context, namespace string) ([]*T, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	list, err := s.live.Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", s.resource, err)
	}
	out := make([]*T, 0, len(list.Items))
	for i := range list.Items {
		t, err := convert[T](&list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}
