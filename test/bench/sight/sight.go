// Package sight watches what a member shows of a benchmark's objects.
//
// It must not know what is measured: it only tells when a version is there.
package sight

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// Sight is what one member shows of the ConfigMaps that the plane keeps there.
type Sight struct {
	mu       sync.Mutex
	changed  chan struct{}
	versions map[string]string
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// Watch watches a namespace of a member until ctx ends; it returns when what is there has been seen.
func Watch(ctx context.Context, client dynamic.Interface, namespace string) (*Sight, error) {
	s := &Sight{versions: map[string]string{}, changed: make(chan struct{})}
	informer := dynamicinformer.NewFilteredDynamicInformer(client, configMaps, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = "kubefed.io/managed=true"
	}).Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    s.see,
		UpdateFunc: func(_, obj any) { s.see(obj) },
		DeleteFunc: func(obj any) {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				s.set(u.GetName(), "")
			}
		},
	}); err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, ctx.Err()
	}
	return s, nil
}

func (s *Sight) see(obj any) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	version, _, _ := unstructured.NestedString(u.Object, "data", "version")
	s.set(u.GetName(), version)
}

func (s *Sight) set(name, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[name] = version
	close(s.changed)
	s.changed = make(chan struct{})
}

// Await waits until the member shows a version of an object; "" = none.
func (s *Sight) Await(ctx context.Context, name, version string) error {
	for {
		s.mu.Lock()
		got, changed := s.versions[name], s.changed
		s.mu.Unlock()
		if got == version {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%s shows version %q, want %q: %w", name, got, version, ctx.Err())
		}
	}
}
