package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const (
	managedSelector = wellknown.ManagedLabel + "=" + wellknown.ManagedTrue

	// Failures of a synced view that say nothing definite (the member is busy, a connection broke) make it unsynced
	// only when they repeat: a member that is lost is found out by its health.
	toleratedFailures = 3
	// firstRetry is the pause after such a failure; it grows to Options.RetryMax.
	firstRetry = 500 * time.Millisecond
)

// View is what one connection knows of one kind: the objects with the plane's label, in all namespaces.
type View struct {
	member *Member
	gvr    schema.GroupVersionResource
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.RWMutex
	objects  map[types.NamespacedName]*unstructured.Unstructured
	synced   bool
	err      error
	failures int
	listed   int // complete lists so far
}

func newView(m *Member, gvr schema.GroupVersionResource) *View {
	ctx, cancel := context.WithCancelCause(m.ctx)
	return &View{member: m, gvr: gvr, ctx: ctx, cancel: cancel, objects: map[types.NamespacedName]*unstructured.Unstructured{}}
}

// Synced tells whether the view holds all of the member's objects: it was listed over this connection, nothing is
// known to have been missed since, and the connection lives.
func (v *View) Synced() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.synced && v.ctx.Err() == nil
}

// Err says why the view cannot be read: *LacksKindError, *ForbiddenError, *UnauthorizedError, *NotConnectedError or
// another error. It is nil while the view is healthy, and while its first list is on its way.
func (v *View) Err() error {
	if v.ctx.Err() != nil {
		return context.Cause(v.ctx)
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.err
}

// Get returns an object. It is shared: callers must not change it.
func (v *View) Get(namespace, name string) (*unstructured.Unstructured, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	u, ok := v.objects[types.NamespacedName{Namespace: namespace, Name: name}]
	return u, ok
}

// List returns all objects, in no order. They are shared: callers must not change them.
func (v *View) List() []*unstructured.Unstructured {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := make([]*unstructured.Unstructured, 0, len(v.objects))
	for _, u := range v.objects {
		out = append(out, u)
	}
	return out
}

// ForEach calls fn with each object until it returns false. It must not call the view.
func (v *View) ForEach(fn func(*unstructured.Unstructured) bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, u := range v.objects {
		if !fn(u) {
			return
		}
	}
}

// run lists and watches until the connection ends. The pauses between attempts are the view's own, not the
// reflector's: they depend on why it failed, and end with the connection.
func (v *View) run() {
	// The reflector tells of every broken watch; here that is ordinary, and the member's health tells the rest.
	ctx := klog.NewContext(v.ctx, klog.FromContext(v.ctx).V(2))
	reflector := cache.NewReflectorWithOptions(v.listWatch(), &unstructured.Unstructured{}, viewStore{v}, cache.ReflectorOptions{
		Name:            v.member.name + " " + nameOf(v.gvr),
		TypeDescription: nameOf(v.gvr),
	})
	opts := v.member.opts
	definite, vague := backoff(opts.RetryMin, opts.RetryMax), backoff(min(firstRetry, opts.RetryMin), opts.RetryMax)
	for {
		before := v.lists()
		err := reflector.ListAndWatchWithContext(ctx)
		if v.ctx.Err() != nil {
			return
		}
		if v.lists() != before { // it had been synced in between: this failure is a new one
			definite, vague = backoff(opts.RetryMin, opts.RetryMax), backoff(min(firstRetry, opts.RetryMin), opts.RetryMax)
		}
		var pause time.Duration
		if err != nil && v.failed(err) {
			pause = definite.Step()
		} else {
			pause = vague.Step()
		}
		select {
		case <-v.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func backoff(first, last time.Duration) *wait.Backoff {
	return &wait.Backoff{Duration: first, Cap: last, Factor: 2, Jitter: 0.3, Steps: 1 << 30}
}

func (v *View) lists() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.listed
}

func (v *View) listWatch() *cache.ListWatch {
	client := v.member.dynamic.Resource(v.gvr)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = managedSelector
			if opts.ResourceVersion == "0" {
				// "Whatever you have cached" may be old: what a view says first must be true.
				opts.ResourceVersion = ""
			}
			list, err := client.List(ctx, opts)
			return list, opaque(err)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = managedSelector
			w, err := client.Watch(ctx, opts)
			return w, opaque(err)
		},
	}
}

// opaque hides from the reflector that a connection was refused: it would retry in a pause that outlives the view.
func opaque(err error) error {
	if err != nil && utilnet.IsConnectionRefused(err) {
		return errors.New(err.Error())
	}
	return err
}

// failed records why the view could not be read, and tells whether the member itself gave a definite answer.
func (v *View) failed(err error) (definite bool) {
	name := v.member.name
	switch {
	case apierrors.IsNotFound(err):
		definite, err = true, &LacksKindError{Member: name, GVR: v.gvr}
	case apierrors.IsForbidden(err):
		definite, err = true, &ForbiddenError{Member: name, GVR: v.gvr, Err: err}
	case apierrors.IsUnauthorized(err):
		definite, err = true, &UnauthorizedError{Member: name, Err: err}
	default:
		err = fmt.Errorf("reading %s of member %s: %w", nameOf(v.gvr), name, err)
	}
	v.mu.Lock()
	v.failures++
	changed := false
	if !v.synced || definite || v.failures >= toleratedFailures {
		changed = v.synced || v.err == nil || v.err.Error() != err.Error()
		v.synced, v.err = false, err
	}
	v.mu.Unlock()
	if changed {
		v.emit("", "")
	}
	return definite
}

func (v *View) emit(namespace, name string) {
	if v.ctx.Err() == nil {
		v.member.fleet.emit(Event{Member: v.member.name, GVR: v.gvr, Namespace: namespace, Name: name})
	}
}
