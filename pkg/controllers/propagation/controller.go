package propagation

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cellfed/cellfed/pkg/apply"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/tenancy"
)

// Type is a federated type that propagation carries.
type Type struct {
	// Name is the FederatedTypeConfig's.
	Name string
	// Federated is the federated resource in cluster form, FederatedKind its kind.
	Federated     schema.GroupVersionResource
	FederatedKind string
	// Target is the members' resource, TargetKind its kind.
	Target     schema.GroupVersionResource
	TargetKind string
	// Namespaced: the target lives in namespaces. FederatedNamespaced: the federated object does.
	Namespaced, FederatedNamespaced bool
	CollectStatus                   bool
	// OnlyDeletions: objects that are being deleted are brought to their end, and nothing else is done.
	OnlyDeletions bool
	// PropagatingAnnotations and RetainedFields are the FederatedTypeConfig's: what of a copy is the template's and what
	// the member's.
	PropagatingAnnotations, RetainedFields []string
}

// Options are what propagation works with.
type Options struct {
	// Dynamic reads and writes federated objects on the plane, Client its other kinds.
	Dynamic dynamic.Interface
	Client  client.Client
	// Cache has units, members and namespaces, and the metadata of revisions.
	Cache cache.Cache
	// Live asks the plane itself, for what must not be decided from a cache.
	Live     client.Reader
	Fleet    *member.Fleet
	Recorder events.EventRecorder
	// Settled tells whether all members have been heard of. Before that nothing is said about them.
	Settled func(ctx context.Context) (bool, error)
	// StrictNamespaces tells whether nothing is placed anew in namespaces without a FederatedNamespace (default: it is).
	StrictNamespaces func() bool
	// RequireGrants tells whether members that say nothing of tenants are closed to all that have one (default: not).
	RequireGrants func() bool
	// Gates are the feature gates (default: as they are by default).
	Gates func() features.Gates
	// AdoptByDefault tells whether member objects that are there already are taken over without being asked for
	// (default: not).
	AdoptByDefault func() bool
	// Workers is how many there are per type (default 16).
	Workers func() int
	// HistoryLimit is how many revisions that nobody runs are kept per object (default 10).
	HistoryLimit int
	// Now is the clock (default time.Now).
	Now func() time.Time
}

// Controller propagates any number of types.
type Controller struct {
	opts   Options
	ledger *apply.Ledger
	exec   *apply.Executor
	pacer  pacer

	mu    sync.Mutex
	types map[string]*carrier
	// accesses are who may use each member, as it was last told.
	accesses map[string]tenancy.Access
	// required tells whether grants were required when that was last looked at.
	required bool
	// turns counts the changes of access to members.
	turns atomic.Int64
}

// New returns a controller that carries no type yet.
func New(opts Options) *Controller {
	if opts.Workers == nil {
		opts.Workers = func() int { return 16 }
	}
	if opts.HistoryLimit == 0 {
		opts.HistoryLimit = 10
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Controller{opts: opts, ledger: apply.NewLedger(), types: map[string]*carrier{}, accesses: map[string]tenancy.Access{}}
	c.required = c.requiresGrants()
	c.exec = apply.NewExecutor(c.ledger, c.wake, apply.Options{Now: opts.Now, Observe: written})
	return c
}

// Start begins to carry a type, for as long as ctx lives or until Stop. A type that is carried already is restarted if
// it changed.
func (c *Controller) Start(ctx context.Context, t Type) error {
	c.mu.Lock()
	old := c.types[t.Name]
	c.mu.Unlock()
	if old != nil {
		if reflect.DeepEqual(old.typ, t) {
			return nil
		}
		c.Stop(t.Name)
	}
	plane, err := c.planeID(ctx)
	if err != nil {
		return err
	}
	k, err := newCarrier(c, t, plane)
	if err != nil {
		return fmt.Errorf("carrying %s: %w", t.Name, err)
	}
	c.mu.Lock()
	c.types[t.Name] = k
	c.mu.Unlock()
	k.start(ctx)
	return nil
}

// Stop ends the carrying of a type and waits for its workers.
func (c *Controller) Stop(name string) {
	c.mu.Lock()
	k := c.types[name]
	delete(c.types, name)
	c.mu.Unlock()
	if k == nil {
		return
	}
	k.stop()
	c.exec.Drain(name)
	k.meter.end()
	if !c.carries(k.typ.Target) {
		c.opts.Fleet.StopViews(k.typ.Target)
	}
}

// StopAll ends the carrying of all types, and with it every call to members.
func (c *Controller) StopAll() {
	for _, k := range c.carriers() {
		c.Stop(k.typ.Name)
	}
}

// Running tells whether a type is carried.
func (c *Controller) Running(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.types[name] != nil
}

func (c *Controller) carries(target schema.GroupVersionResource) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.types {
		if k.typ.Target == target {
			return true
		}
	}
	return false
}

func (c *Controller) carriers() []*carrier {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*carrier, 0, len(c.types))
	for _, k := range c.types {
		out = append(out, k)
	}
	return out
}

// wake looks at an object again.
func (c *Controller) wake(key apply.Key) {
	c.mu.Lock()
	k := c.types[key.Type]
	c.mu.Unlock()
	if k != nil {
		k.queue.Add(objectKey{key.Namespace, key.Name})
	}
}
