package member

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const managedSelector = wellknown.ManagedLabel + "=" + wellknown.ManagedTrue

// View is what one connection knows of one kind: the objects with the plane's label, in all namespaces.
type View struct {
	member *Member
	gvr    schema.GroupVersionResource
	ctx    context.Context
	cancel context.CancelCauseFunc
	pace   *pacer // of the goroutine that runs the view
	crier  crier

	mu      sync.RWMutex
	objects map[types.NamespacedName]*unstructured.Unstructured
	weight  int64
	pending atomic.Int64 // the weight of a list on its way
	synced  bool
	err     error
	class   string    // what sort of error err is
	since   time.Time // when err was told
	// failures are lists in a row that failed; relapses are failures after a list that did not, until the view has been
	// in order for a while.
	failures, relapses int
	streaming          bool // a watch is being followed
}

func newView(m *Member, gvr schema.GroupVersionResource) *View {
	ctx, cancel := context.WithCancelCause(m.ctx)
	v := &View{
		member: m, gvr: gvr, ctx: ctx, cancel: cancel, pace: newPacer(pacePerSecond, paceBurst),
		objects: map[types.NamespacedName]*unstructured.Unstructured{},
	}
	v.crier.tell = func(key types.NamespacedName) {
		if v.Synced() { // what an unsynced view lacks is not gone
			v.emit(key.Namespace, key.Name)
		}
	}
	return v
}

// Synced tells whether the view holds all of the member's objects: it was listed over this connection, nothing is
// known to have been missed since, and the connection lives.
func (v *View) Synced() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.synced && v.ctx.Err() == nil
}

// Err says why the view cannot be read: *LacksKindError, *ForbiddenError, *UnauthorizedError, *NotConnectedError,
// *LieError, *TooMuchError, *BusyError or another error. It is nil while the view is healthy, and while its first list
// is on its way.
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

func keyOf(u *unstructured.Unstructured) types.NamespacedName {
	return types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}
}

// emit tells of the view as a whole (no name), or of an object of it.
func (v *View) emit(namespace, name string) {
	if v.ctx.Err() == nil {
		v.member.fleet.emit(Event{Member: v.member.name, GVR: v.gvr, Namespace: namespace, Name: name})
	}
}

// replace takes over a complete list. What differs from what the view held is told, if the view was synced.
func (v *View) replace(l *listing) {
	v.mu.Lock()
	old, was := v.objects, v.synced
	v.objects, v.weight, v.failures = l.objects, l.weight, 0
	if v.relapses < tolerated {
		v.synced, v.err, v.class = true, nil, ""
	}
	is := v.synced
	v.mu.Unlock()
	switch {
	case !is: // on probation
	case !was:
		v.emit("", "")
	default:
		for key, u := range l.objects {
			if before := old[key]; before == nil || before.GetResourceVersion() != u.GetResourceVersion() || before.GetUID() != u.GetUID() {
				v.crier.changed(v.ctx, key)
			}
		}
		for key := range old {
			if l.objects[key] == nil {
				v.crier.changed(v.ctx, key)
			}
		}
	}
}

// keep takes over a new or changed object, unless it is what the view has.
func (v *View) keep(u *unstructured.Unstructured) error {
	key := keyOf(u)
	v.mu.RLock()
	before, weight := v.objects[key], v.weight
	v.mu.RUnlock()
	if before != nil {
		if before.GetUID() == u.GetUID() && before.GetResourceVersion() == u.GetResourceVersion() {
			return nil
		}
		weight -= weigh(before.Object)
	}
	weight += weigh(u.Object)
	if allowed := v.allowance(weight); weight > allowed {
		return v.tooMuch("its objects would take more than %d MiB of memory, more than the plane knows of: see propagation.memoryPerMember", allowed>>20)
	}
	v.mu.Lock()
	v.objects[key], v.weight = u, weight
	is := v.synced
	v.mu.Unlock()
	if is {
		v.crier.changed(v.ctx, key)
	}
	return nil
}

// drop takes over that an object went.
func (v *View) drop(key types.NamespacedName) {
	v.mu.Lock()
	before := v.objects[key]
	if before != nil {
		v.weight -= weigh(before.Object)
		delete(v.objects, key)
	}
	is := v.synced
	v.mu.Unlock()
	if is && before != nil {
		v.crier.changed(v.ctx, key)
	}
}

// follows notes that a watch is being followed, or is not any more.
func (v *View) follows(streaming bool) {
	v.mu.Lock()
	v.streaming = streaming
	v.mu.Unlock()
}

// calm ends a view's probation: it has been in order for a while. The watch of which it is told may have failed in that
// very moment: then what was known is thrown away already, and the view must not say that nothing is there.
func (v *View) calm() {
	v.mu.Lock()
	if !v.streaming {
		v.mu.Unlock()
		return
	}
	v.relapses = 0
	back := !v.synced
	v.synced, v.err, v.class = true, nil, ""
	v.mu.Unlock()
	if back {
		v.emit("", "")
	}
}
