package tunnels

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/proxy/hub"
)

// clusters follows the KubeFedClusters of the plane, and has the hub admit their agents.
type clusters struct {
	informer cache.SharedIndexInformer
	handled  cache.ResourceEventHandlerRegistration
	running  sync.WaitGroup
}

func followClusters(ctx context.Context, config *rest.Config, h *hub.Hub) (*clusters, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, wellknown.FederationNamespace, func(*metav1.ListOptions) {})
	c := &clusters{informer: factory.ForResource(corev1beta1.GroupVersion.WithResource("kubefedclusters")).Informer()}
	c.handled, err = c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { admit(h, obj) },
		UpdateFunc: func(_, obj any) { admit(h, obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if u, ok := obj.(*unstructured.Unstructured); ok {
				h.Forget(u.GetName())
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("following KubeFedClusters: %w", err)
	}
	c.running.Go(func() { c.informer.Run(ctx.Done()) })
	return c, nil
}

// synced waits until all members have been seen; false if ctx ended first.
func (c *clusters) synced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), c.handled.HasSynced)
}

func (c *clusters) wait() { c.running.Wait() }

// admit lets in whom a KubeFedCluster names. One that is being deleted keeps its tunnel: what is in the member has to be
// deleted through it.
func admit(h *hub.Hub, obj any) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	tunnel, tunnelled, err := unstructured.NestedMap(u.Object, "spec", "tunnel")
	if err != nil || !tunnelled {
		h.Forget(u.GetName())
		return
	}
	enrolment, _ := tunnel["enrolment"].(string)
	h.Admit(u.GetName(), enrolment)
}
