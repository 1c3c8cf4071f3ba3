package apiserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
)

const (
	// resync is how often informers of upstream controllers present everything
	// again. Nothing here needs that; it is a net for upstream's bugs.
	resync = 10 * time.Hour
	// discoveryPeriod is how often the garbage collector looks for new types.
	discoveryPeriod = 10 * time.Second

	namespaceWorkers        = 10
	collectorWorkers        = 20
	roleAggregationWorkers  = 2
	namespaceResyncInterval = 5 * time.Minute
)

// Upstream are the controllers of kube-controller-manager that an API without
// pods needs: without them namespaces never end, dependents outlive their owners
// and the role "admin" knows no custom resource.
func Upstream() []Part {
	return []Part{
		{Name: "namespace", Run: runNamespaces},
		{Name: "garbagecollector", Run: runGarbageCollector},
		{Name: "clusterrole-aggregation", Run: runRoleAggregation},
	}
}

func runNamespaces(ctx context.Context, loopback *rest.Config) error {
	ctx = upstream(ctx)
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	meta, err := metadata.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a metadata client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, resync)
	c := namespace.NewNamespaceController(ctx, client, meta, client.Discovery().ServerPreferredNamespacedResources,
		factory.Core().V1().Namespaces(), namespaceResyncInterval, corev1.FinalizerKubernetes)
	factory.Start(ctx.Done())
	c.Run(ctx, namespaceWorkers)
	factory.Shutdown()
	return nil
}

func runGarbageCollector(ctx context.Context, loopback *rest.Config) error {
	ctx = upstream(ctx)
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	meta, err := metadata.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a metadata client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	typed := informers.NewSharedInformerFactory(client, resync)
	untyped := metadatainformer.NewSharedInformerFactory(meta, resync)
	started := make(chan struct{})
	gc, err := garbagecollector.NewGarbageCollector(ctx, client, meta, mapper, garbagecollector.DefaultIgnoredResources(),
		informerfactory.NewInformerFactory(typed, untyped), started)
	if err != nil {
		return fmt.Errorf("making the garbage collector: %w", err)
	}
	typed.Start(ctx.Done())
	close(started)
	var wg sync.WaitGroup
	wg.Go(func() { gc.Run(ctx, collectorWorkers, discoveryPeriod) })
	wg.Go(func() { gc.Sync(ctx, client.Discovery(), discoveryPeriod) })
	wg.Wait()
	return nil
}

func runRoleAggregation(ctx context.Context, loopback *rest.Config) error {
	ctx = upstream(ctx)
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, resync)
	c := clusterroleaggregation.NewClusterRoleAggregation(factory.Rbac().V1().ClusterRoles(), client.RbacV1())
	factory.Start(ctx.Done())
	c.Run(ctx, roleAggregationWorkers)
	factory.Shutdown()
	return nil
}
