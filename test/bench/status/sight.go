package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// sight is what the plane shows of the benchmark's objects.
type sight struct {
	mu      sync.Mutex
	healthy map[string]bool // those that were told of once
	writes  int
	// sent are the events that are not visible yet, by object, oldest first.
	sent map[string][]event
	took []time.Duration
}

type event struct {
	number int64
	at     time.Time
}

func watchPlane(ctx context.Context, client dynamic.Interface) (*sight, error) {
	s := &sight{healthy: map[string]bool{}, sent: map[string][]event{}}
	informer := dynamicinformer.NewFilteredDynamicInformer(client, federated, namespace, 0, cache.Indexers{}, func(*metav1.ListOptions) {}).Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    s.see,
		UpdateFunc: func(_, obj any) { s.see(obj) },
	}); err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, ctx.Err()
	}
	return s, nil
}

// see takes one version of an object. An event is visible when it, or a later one of the same object, is.
func (s *sight) see(obj any) {
	now := time.Now()
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	clusters, _, _ := unstructured.NestedSlice(u.Object, "status", "clusters")
	shown := int64(-1)
	told := false
	for _, c := range clusters {
		m, _ := c.(map[string]any)
		shown, _, _ = unstructured.NestedInt64(m, "remoteStatus", "number")
		told = m["healthyRevision"] != nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if told {
		s.healthy[u.GetName()] = true
	}
	open := s.sent[u.GetName()]
	for len(open) > 0 && open[0].number <= shown {
		s.took = append(s.took, now.Sub(open[0].at))
		open = open[1:]
	}
	s.sent[u.GetName()] = open
}

func (s *sight) send(object string, e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[object] = append(s.sent[object], e)
}

// await waits until so many objects are told of as healthy.
func (s *sight) await(ctx context.Context, objects int) error {
	return s.until(ctx, 30*time.Minute, func() (bool, string) {
		return len(s.healthy) >= objects, fmt.Sprintf("%d of %d objects are told of", len(s.healthy), objects)
	})
}

// settle waits until all events are visible.
func (s *sight) settle(ctx context.Context) error {
	return s.until(ctx, time.Minute, func() (bool, string) {
		open := 0
		for _, events := range s.sent {
			open += len(events)
		}
		return open == 0, fmt.Sprintf("%d events are not visible", open)
	})
}

func (s *sight) until(ctx context.Context, long time.Duration, holds func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	for {
		s.mu.Lock()
		ok, what := holds()
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// take returns what was seen since the last time.
func (s *sight) take() (took []time.Duration, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took, writes = s.took, s.writes
	s.took, s.writes = nil, 0
	return took, writes
}
