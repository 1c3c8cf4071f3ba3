package member

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
)

// DialFunc opens a connection to a member's API server.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options tune connections. The zero value is good.
type Options struct {
	// QPS and Burst bound the calls to one member. 0 = no bound: the member's own priority and fairness is the one
	// that knows.
	QPS   float32
	Burst int
	// UserAgent is how the plane names itself to members.
	UserAgent string
	// DialTimeout bounds opening a TCP connection (default 5s), TLSTimeout its handshake (default 5s), and
	// HeaderTimeout how long a member may take to begin its answer (default 40s: longer than the 30s that a webhook
	// of the member may take).
	DialTimeout, TLSTimeout, HeaderTimeout time.Duration
	// ListTimeout bounds reading a kind once (default 2m), EventTimeout a single event of a watch, once it has begun
	// (default 30s).
	ListTimeout, EventTimeout time.Duration
	// Calm is how long a watch must last for what was wrong before to be forgiven (default 10s).
	Calm time.Duration
	// MemoryPerMember is how much memory, in bytes, what a member shows may take beyond what is expected of it
	// (default 32 MiB).
	MemoryPerMember int64
	// RetryMin and RetryMax bound the pause before a view that cannot be read tries again (defaults 5s and 60s).
	RetryMin, RetryMax time.Duration
	// Dialer, if it returns a function for a member, opens that member's connections; nil = plain TCP.
	Dialer func(member string) DialFunc
	// Tunnel opens connections to members that are reached through their agents' tunnels, by the member's name; nil = the
	// process has no tunnels, and such members cannot be reached.
	Tunnel TunnelFunc
	// Fence, if there is one, is asked at the last moment before anything goes out to a member; its error keeps it here.
	Fence func() error
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.DialTimeout, 5*time.Second)
	set(&o.TLSTimeout, 5*time.Second)
	set(&o.HeaderTimeout, 40*time.Second)
	set(&o.RetryMin, 5*time.Second)
	set(&o.RetryMax, 60*time.Second)
	set(&o.ListTimeout, 2*time.Minute)
	set(&o.EventTimeout, 30*time.Second)
	set(&o.Calm, 10*time.Second)
	if o.MemoryPerMember == 0 {
		o.MemoryPerMember = 32 << 20
	}
	if o.UserAgent == "" {
		o.UserAgent = "cellfed"
	}
	return o
}

// Event says that what is known of a member has changed.
//
// GVR empty: the member was connected or disconnected. GVR set and Name empty: a view became synced or failed.
// GVR and Name set: an object of a synced view came, changed or went. The objects that a view's first list brings are
// not told one by one: the event that the view became synced stands for them.
type Event struct {
	Member    string
	GVR       schema.GroupVersionResource
	Namespace string
	Name      string
}

// Fleet is all physical members.
type Fleet struct {
	ctx  context.Context
	opts Options

	mu      sync.Mutex
	entries map[string]*entry
	// expected outlives connections and members.
	expected map[schema.GroupVersionResource]Expectation

	subscribers listeners[Event]
	suspicious  listeners[string]
}

// entry is what the fleet keeps of a member across its connections.
type entry struct {
	config    Config
	reachable bool
	heard     bool
	reason    string
	message   string
	identity  string  // who the cluster is, as far as it was found out; "" = it is not known
	member    *Member // nil while not connected
	kinds     map[schema.GroupVersionResource]struct{}
}

// NewFleet returns an empty fleet. Everything it starts ends with ctx.
func NewFleet(ctx context.Context, opts Options) *Fleet {
	f := &Fleet{
		ctx: ctx, opts: opts.withDefaults(),
		entries: map[string]*entry{}, expected: map[schema.GroupVersionResource]Expectation{},
	}
	context.AfterFunc(ctx, f.stop)
	return f
}

func (f *Fleet) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, e := range f.entries {
		if e.member != nil {
			e.member.end(&NotConnectedError{Member: name, Reason: ReasonStopped})
			e.member = nil
		}
		e.reachable, e.reason, e.message = false, ReasonStopped, ""
	}
}

// Engage makes a member known, or gives it another configuration. The same configuration again is a no-op. A new
// member is connected when SetReachable says that it can be reached; a reconfigured one that was reachable gets its
// new connection at once, and the next probe tells whether that was right.
func (f *Fleet) Engage(name string, config Config) {
	f.mu.Lock()
	e := f.entries[name]
	if e == nil {
		f.entries[name] = &entry{
			config: config, reason: ReasonConnecting, message: "the member has not been asked for its health yet",
			kinds: map[schema.GroupVersionResource]struct{}{},
		}
		f.mu.Unlock()
		f.emit(Event{Member: name})
		return
	}
	if e.config.Equal(config) {
		f.mu.Unlock()
		return
	}
	e.config = config
	if e.member != nil {
		e.member.end(&NotConnectedError{Member: name, Reason: ReasonReconfigured})
		e.member = nil
	}
	if e.reachable {
		f.connect(name, e)
	}
	f.mu.Unlock()
	f.emit(Event{Member: name})
}

// Disengage forgets a member: its context, watches and calls in flight end.
func (f *Fleet) Disengage(name string) {
	f.mu.Lock()
	e := f.entries[name]
	delete(f.entries, name)
	if e != nil && e.member != nil {
		e.member.end(&NotConnectedError{Member: name, Reason: ReasonDisengaged})
	}
	f.mu.Unlock()
	if e != nil {
		f.emit(Event{Member: name})
	}
}

// SetReachable tells the fleet whether a member can be reached. A member that cannot be is left alone altogether;
// one that can be (again) gets a fresh connection and fresh views of the kinds that were in use. Subscribers hear of
// a change, also of one of reason only.
func (f *Fleet) SetReachable(name string, ok bool, reason, message string) {
	f.mu.Lock()
	e := f.entries[name]
	if e == nil || f.ctx.Err() != nil {
		f.mu.Unlock()
		return
	}
	changed := !e.heard || e.reachable != ok || (!ok && (e.reason != reason || e.message != message))
	e.heard, e.reachable, e.reason, e.message = true, ok, reason, message
	switch {
	case ok && e.member == nil:
		f.connect(name, e)
		changed = true
	case !ok && e.member != nil:
		e.member.end(&NotConnectedError{Member: name, Reason: reason, Message: message})
		e.member = nil
	}
	f.mu.Unlock()
	if changed {
		f.emit(Event{Member: name})
	}
}

// Identify tells the fleet who the cluster behind a member is; "" = it is not known. It is what connections made from
// then on say of themselves.
func (f *Fleet) Identify(name, identity string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.entries[name]; e != nil {
		e.identity = identity
	}
}

// Context is the life of the fleet.
func (f *Fleet) Context() context.Context { return f.ctx }

// connect is called with the lock held.
func (f *Fleet) connect(name string, e *entry) {
	m, err := newMember(f, name, e.config)
	if err != nil {
		// ConfigFor has refused what cannot be connected with; what is left is told where the member is asked for.
		e.reachable, e.reason, e.message = false, ReasonMalformedConfig, err.Error()
		return
	}
	m.identity = e.identity
	e.member = m
	for gvr := range e.kinds {
		m.startView(gvr)
	}
	klog.FromContext(f.ctx).V(1).Info("Member connected", "member", name)
}

// Member returns the connection to a member, or ErrUnknown, or a *NotConnectedError.
func (f *Fleet) Member(name string) (*Member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[name]
	if e == nil {
		return nil, ErrUnknown
	}
	if e.member == nil {
		return nil, &NotConnectedError{Member: name, Reason: e.reason, Message: e.message}
	}
	return e.member, nil
}

// Names returns the names of all members, connected or not, in order.
func (f *Fleet) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.entries))
	for name := range f.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Heard tells whether each engaged member has been asked for its health at least once. Before that, "not connected"
// says nothing about the member.
func (f *Fleet) Heard() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.entries {
		if !e.heard {
			return false
		}
	}
	return true
}

// StopViews ends the views of a kind in all members; a later Member.View begins anew.
func (f *Fleet) StopViews(gvr schema.GroupVersionResource) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.entries {
		delete(e.kinds, gvr)
		if e.member != nil {
			e.member.stopView(gvr)
		}
	}
}

// used records that a kind is of interest in a member, so that its view starts with the next connection.
func (f *Fleet) used(m *Member, gvr schema.GroupVersionResource) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.entries[m.name]; e != nil {
		e.kinds[gvr] = struct{}{}
	}
}

// Subscribe has fn called for each Event until cancel is called. It is called from many goroutines and holds up the
// watches while it runs: it must be cheap.
func (f *Fleet) Subscribe(fn func(Event)) (cancel func()) { return f.subscribers.add(fn) }

// OnSuspicion has fn called with a member's name when there is reason to think that it is lost: a call could not be
// carried, was not answered in time, or its credentials were refused. It must be cheap.
func (f *Fleet) OnSuspicion(fn func(name string)) (cancel func()) { return f.suspicious.add(fn) }

// Suspect says that a member may be lost. Failed calls say so by themselves; a caller that gave up waiting may too.
func (f *Fleet) Suspect(name string) { f.suspicious.tell(name) }

func (f *Fleet) emit(ev Event) { f.subscribers.tell(ev) }

// listeners are functions that want to be told. No lock is held while they are, so that they may call back.
type listeners[T any] struct {
	mu  sync.RWMutex
	all []*func(T) // never changed in place
}

func (l *listeners[T]) add(fn func(T)) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(slices.Clip(l.all), &fn)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = slices.DeleteFunc(slices.Clone(l.all), func(other *func(T)) bool { return other == &fn })
	}
}

func (l *listeners[T]) tell(what T) {
	l.mu.RLock()
	all := l.all
	l.mu.RUnlock()
	for _, fn := range all {
		(*fn)(what)
	}
}
