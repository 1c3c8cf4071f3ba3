package propagation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apply"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

// objectKey names a federated object of one type.
type objectKey struct {
	Namespace, Name string
}

func (k objectKey) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// carrier carries the objects of one type.
type carrier struct {
	*Controller
	typ       Type
	plane     string
	policy    render.Policy
	illegible *plan.Why // why the policy cannot be read; nil = it can
	informer  cache.SharedIndexInformer
	queue     workqueue.TypedRateLimitingInterface[objectKey]
	cancel    context.CancelFunc
	done      sync.WaitGroup

	mu sync.Mutex
	// written are objects as our own last write left them, until the watch has caught up.
	written map[objectKey]*unstructured.Unstructured
	// recorded are revisions that were made just now, until the cache has them.
	recorded map[objectKey]map[string]made
	// crew is the type's workers.
	crew  crew
	meter meter
	// versions are KubeFed's version objects as they were last written, while their gate is on.
	versions map[objectKey]*unstructured.Unstructured
	// waiting are FederatedNamespaces that wait for what lives in their copies.
	waiting map[objectKey]bool
}

func newCarrier(c *Controller, t Type, plane string) (*carrier, error) {
	policy, illegible := policyOf(t)
	k := &carrier{
		Controller: c, typ: t, plane: plane, policy: policy, illegible: illegible,
		informer: dynamicinformer.NewFilteredDynamicInformer(c.opts.Dynamic, t.Federated, "", 0,
			cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc, uidIndex: byUID}, nil).Informer(),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[objectKey](10*time.Millisecond, 30*time.Second),
			workqueue.TypedRateLimitingQueueConfig[objectKey]{Name: "propagation-" + t.Name}),
		written:  map[objectKey]*unstructured.Unstructured{},
		recorded: map[objectKey]map[string]made{},
		waiting:  map[objectKey]bool{},
		versions: map[objectKey]*unstructured.Unstructured{},
	}
	k.crew.wanted = c.opts.Workers
	k.meter = newMeter(t, c.opts)
	if err := k.informer.SetTransform(dropManagedFields); err != nil {
		return nil, fmt.Errorf("setting up the watch: %w", err)
	}
	if _, err := k.informer.AddEventHandler(k.objectEvents()); err != nil {
		return nil, fmt.Errorf("setting up the watch: %w", err)
	}
	if t.ofNamespaces() {
		if _, err := k.informer.AddEventHandler(k.namespaceEvents()); err != nil {
			return nil, fmt.Errorf("setting up the watch: %w", err)
		}
	}
	return k, nil
}

func dropManagedFields(obj any) (any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		u.SetManagedFields(nil)
	}
	return obj, nil
}

func (k *carrier) start(ctx context.Context) {
	ctx, k.cancel = context.WithCancel(ctx)
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("propagation").WithValues("type", k.typ.Name))
	k.opts.Fleet.Expect(k.typ.Target, k.expectation())
	unsubscribe := k.opts.Fleet.Subscribe(k.memberEvent)
	k.done.Add(2)
	go func() {
		defer k.done.Done()
		k.informer.RunWithContext(ctx)
	}()
	go func() {
		defer k.done.Done()
		defer unsubscribe()
		k.work(ctx)
	}()
}

func (k *carrier) stop() {
	k.cancel()
	k.done.Wait()
}

// work runs the workers. None starts before everything that plans are made of is known: a member that nobody has
// heard of yet is not one that is lost.
func (k *carrier) work(ctx context.Context) {
	defer k.queue.ShutDown()
	if !k.known(ctx) {
		return
	}
	k.crew.start(func() bool { return k.next(ctx) })
	<-ctx.Done()
	k.queue.ShutDown()
	k.crew.end()
}

// next takes one key from the queue. An error is told here, once, and the key comes back after a pause.
func (k *carrier) next(ctx context.Context) bool {
	key, shutdown := k.queue.Get()
	if shutdown {
		return false
	}
	defer k.queue.Done(key)
	began, ended := k.opts.Now(), k.meter.controller.Begin()
	after, err := k.reconcileSafely(ctx, key)
	ended(resultOf(after > 0, err), k.opts.Now().Sub(began))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if !transient(err) {
			klog.FromContext(ctx).Error(err, "Propagating failed; trying again", "object", key.String())
		}
		k.queue.AddRateLimited(key)
	case after > 0:
		k.queue.Forget(key)
		k.queue.AddAfter(key, after)
	default:
		k.queue.Forget(key)
	}
	return true
}

// reconcileSafely turns a panic into an error of the one object that caused it.
func (k *carrier) reconcileSafely(ctx context.Context, key objectKey) (after time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			utilruntime.HandleErrorWithContext(ctx, fmt.Errorf("panic: %v", p), "Propagating panicked", "object", key.String())
			err = fmt.Errorf("propagating %s: panic: %v", key, p)
		}
	}()
	return k.Reconcile(ctx, key)
}

// ledgerKey names an object in the ledger.
func (k *carrier) ledgerKey(key objectKey) apply.Key {
	return apply.Key{Type: k.typ.Name, Namespace: key.Namespace, Name: key.Name}
}

func (k *carrier) resource(namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return k.opts.Dynamic.Resource(k.typ.Federated)
	}
	return k.opts.Dynamic.Resource(k.typ.Federated).Namespace(namespace)
}

func (k *carrier) targetKind() schema.GroupVersionKind {
	return k.typ.Target.GroupVersion().WithKind(k.typ.TargetKind)
}

// load returns the newest version of an object that the carrier has seen; nil = it is gone.
func (k *carrier) load(key objectKey) (*unstructured.Unstructured, error) {
	raw, there, err := k.informer.GetStore().GetByKey(key.String())
	if err != nil {
		return nil, fmt.Errorf("reading %s from the watch: %w", key, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !there {
		delete(k.written, key)
		return nil, nil
	}
	watched := raw.(*unstructured.Unstructured)
	written := k.written[key]
	if written != nil && written.GetUID() == watched.GetUID() && apply.Newer(written.GetResourceVersion(), watched.GetResourceVersion()) {
		return written, nil
	}
	delete(k.written, key)
	return watched, nil
}

// wrote remembers an object as our own write left it.
func (k *carrier) wrote(key objectKey, u *unstructured.Unstructured) {
	u.SetManagedFields(nil)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.written[key] = u
}

// echo tells whether a version of an object is the one that our own write left.
func (k *carrier) echo(key objectKey, u *unstructured.Unstructured) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	written := k.written[key]
	if written == nil || written.GetResourceVersion() != u.GetResourceVersion() {
		return false
	}
	delete(k.written, key) // the watch has it now
	return true
}
