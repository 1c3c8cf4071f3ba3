package cli

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
)

var (
	namespaces          = corev1.SchemeGroupVersion.WithResource("namespaces")
	configMaps          = corev1.SchemeGroupVersion.WithResource("configmaps")
	secrets             = corev1.SchemeGroupVersion.WithResource("secrets")
	serviceAccounts     = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	clusterRoles        = rbacv1.SchemeGroupVersion.WithResource("clusterroles")
	clusterRoleBindings = rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings")
	roles               = rbacv1.SchemeGroupVersion.WithResource("roles")
	deployments         = appsv1.SchemeGroupVersion.WithResource("deployments")
	roleBindings        = rbacv1.SchemeGroupVersion.WithResource("rolebindings")

	kubeFedClusters      = corev1beta1.GroupVersion.WithResource("kubefedclusters")
	federatedTypeConfigs = corev1beta1.GroupVersion.WithResource("federatedtypeconfigs")
	units                = topologyv1alpha1.GroupVersion.WithResource("units")
	revisions            = propagationv1alpha1.GroupVersion.WithResource("revisions")
)

// cluster is one API server, as commands use it. There is no typed client: it would double the size of the command.
type cluster struct {
	dynamic dynamic.Interface
	// namespacedKinds asks for every kind that lives in namespaces.
	namespacedKinds func() ([]*metav1.APIResourceList, error)
	// mapper is of the plane only: status is asked for any federated kind.
	mapper meta.RESTMapper
}

// planeClients connects to the plane that kubectl's global flags address.
func planeClients(flags *genericclioptions.ConfigFlags) (*cluster, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading how to reach the plane: %w", err)
	}
	c, err := clientsFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the plane: %w", err)
	}
	if c.mapper, err = flags.ToRESTMapper(); err != nil {
		return nil, fmt.Errorf("asking the plane for its types: %w", err)
	}
	return c, nil
}

func clientsFor(config *rest.Config) (*cluster, error) {
	// A person waits; client-side throttling protects nobody here.
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200
	// Looking whether a namespace is empty lists every kind, also those that an API server warns about.
	config.WarningHandler = rest.NoWarnings{}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &cluster{dynamic: dyn, namespacedKinds: disco.ServerPreferredNamespacedResources}, nil
}

// memberAccess is what a kubeconfig says of a member.
type memberAccess struct {
	config  *rest.Config
	cluster clientcmdapi.Cluster
}

// loadMember reads a member's kubeconfig. Without a file, the context is one of kubectl's own configuration.
func loadMember(kubeconfig, contextName string) (*memberAccess, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the member's kubeconfig: %w", err)
	}
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the member's kubeconfig: %w", err)
	}
	if contextName == "" {
		contextName = raw.CurrentContext
	}
	access := &memberAccess{config: config}
	if kctx := raw.Contexts[contextName]; kctx != nil && raw.Clusters[kctx.Cluster] != nil {
		access.cluster = *raw.Clusters[kctx.Cluster]
	}
	if err := rest.LoadTLSFiles(access.config); err != nil {
		return nil, fmt.Errorf("reading the member's certificates: %w", err)
	}
	return access, nil
}

// identity tells one cluster from another: the UID of the namespace that every API server makes at its first start and
// lets nobody delete.
func identity(ctx context.Context, c *cluster) (string, error) {
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		ns, err := c.dynamic.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("reading namespace %s: %w", name, err)
		}
		if ns.GetUID() == "" {
			return "", fmt.Errorf("namespace %s has no UID", name)
		}
		return string(ns.GetUID()), nil
	}
	return "", fmt.Errorf("it has neither a namespace %s nor %s", metav1.NamespaceSystem, metav1.NamespaceDefault)
}

// get reads one object of ours into its type. It returns nil when there is none.
func get[T any](ctx context.Context, c *cluster, gvr schema.GroupVersionResource, namespace, name string) (*T, error) {
	u, err := c.dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", gvr.Resource, name, err)
	}
	return typed[T](u)
}

// asPlane adds to an error what it most likely means when the plane should know a type and does not.
func asPlane(err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w (is it a CellFed plane that kubectl's flags address?)", err)
	}
	return err
}

// list reads all objects of a type of ours; namespace "" = all namespaces.
func list[T any](ctx context.Context, c *cluster, gvr schema.GroupVersionResource, namespace string) ([]T, error) {
	var out []T
	err := eachOf(ctx, c, gvr, namespace, func(u *unstructured.Unstructured) error {
		item, err := typed[T](u)
		if err == nil {
			out = append(out, *item)
		}
		return err
	})
	return out, err
}

// eachOf pages through a list, so that one answer is never larger than what an API server likes to send.
func eachOf(ctx context.Context, c *cluster, gvr schema.GroupVersionResource, namespace string, do func(*unstructured.Unstructured) error) error {
	options := metav1.ListOptions{Limit: 500}
	for {
		page, err := c.dynamic.Resource(gvr).Namespace(namespace).List(ctx, options)
		if err != nil {
			return fmt.Errorf("listing %s: %w", gvr.GroupResource(), err)
		}
		for i := range page.Items {
			if err := do(&page.Items[i]); err != nil {
				return err
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

func typed[T any](u *unstructured.Unstructured) (*T, error) {
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("decoding %s %s: %w", strings.ToLower(u.GetKind()), u.GetName(), err)
	}
	return out, nil
}

// untyped encodes an object of a known type for the dynamic client.
func untyped(obj runtime.Object, gvk schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", gvk.Kind, err)
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(gvk)
	// Encoders write what a create must not say.
	unstructured.RemoveNestedField(m, "metadata", "creationTimestamp")
	delete(m, "status")
	return u, nil
}
