package apply

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/plan"
)

// Connection is a member that can be spoken to. Its context ends with it.
type Connection interface {
	Name() string
	Context() context.Context
	Dynamic() dynamic.Interface
	REST() (rest.Interface, error)
}

// Options tune an Executor. The zero value is good.
type Options struct {
	// Patience is how long an object waits for a member that used to answer (default 2s).
	Patience time.Duration
	// CallTimeout bounds a single call (default 15s).
	CallTimeout time.Duration
	// CallsPerMember bounds the calls under way to one member (default 64).
	CallsPerMember int
	// Observe is told of each call that has ended (default: nobody is).
	Observe func(member string, action plan.Action, outcome plan.Outcome, took time.Duration)
	// Now is the clock (default time.Now).
	Now func() time.Time
}

// Executor carries out plans.
type Executor struct {
	opts   Options
	ledger *Ledger
	// wake is told the key of an object that should be looked at again.
	wake func(Key)

	mu    sync.Mutex
	lanes map[route]*lane
	// calls under way by type, so that they can be cancelled.
	calls    map[string]map[int]context.CancelFunc
	lastCall int
}

// route is the way of one type's calls to one member: what hangs in one type must not slow down another.
type route struct{ member, typ string }

// lane is the traffic on one route.
type lane struct {
	underWay int
	slow     bool         // did not answer within the patience lately
	fast     int          // answers in a row that came within the patience
	needed   int          // how many of them it takes not to be slow any more
	waiting  map[Key]bool // woken when there is room again
}

// NewExecutor returns an executor that writes down in a ledger what it learns, and wakes objects whose calls ended
// after it had stopped waiting for them.
func NewExecutor(ledger *Ledger, wake func(Key), opts Options) *Executor {
	if opts.Patience == 0 {
		opts.Patience = 2 * time.Second
	}
	if opts.CallTimeout == 0 {
		opts.CallTimeout = 15 * time.Second
	}
	if opts.Observe == nil {
		opts.Observe = func(string, plan.Action, plan.Outcome, time.Duration) {}
	}
	if opts.CallsPerMember == 0 {
		opts.CallsPerMember = 64
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Executor{opts: opts, ledger: ledger, wake: wake, lanes: map[route]*lane{}, calls: map[string]map[int]context.CancelFunc{}}
}

// answer is a result on its way from the call to whoever still waits for it.
type answer struct {
	unit   string
	result plan.Result
}

// Do carries out the steps of a plan that touch members, all at once, and returns what came of them by unit. Steps
// that a member has not answered within the patience are Pending, and so are steps for which a member has no room.
func (e *Executor) Do(ctx context.Context, key Key, gvr schema.GroupVersionResource, p *plan.Plan,
	connect func(member string) (Connection, error),
) map[string]plan.Result {
	results := map[string]plan.Result{}
	answers := make(chan answer, len(p.Steps))
	open := map[string]route{} // by unit
	left := &atomic.Bool{}     // nobody waits for answers any more
	for i := range p.Steps {
		step := &p.Steps[i]
		if !step.Action.Writes() && step.Action != plan.Confirm {
			e.ledger.agreed(key, step, e.opts.Now())
			continue
		}
		conn, err := connect(step.Member)
		if err != nil {
			results[step.Unit] = plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: plan.CodeClusterNotReady, Message: err.Error()}}
			continue
		}
		results[step.Unit] = plan.Result{Outcome: plan.Pending}
		if e.start(key, gvr, step, conn, answers, left) {
			open[step.Unit] = route{conn.Name(), key.Type}
		}
	}
	e.collect(ctx, open, answers, results, left)
	return results
}

// collect waits for answers: as long as its patience for members that used to answer, not at all for others.
func (e *Executor) collect(ctx context.Context, open map[string]route, answers <-chan answer, results map[string]plan.Result, left *atomic.Bool) {
	defer func() {
		left.Store(true)
		for { // what has come by now is welcome; what comes later wakes the object
			select {
			case a := <-answers:
				results[a.unit] = a.result
			default:
				return
			}
		}
	}()
	if len(open) == 0 {
		return
	}
	patience := time.NewTimer(e.opts.Patience)
	defer patience.Stop()
	for e.worthWaiting(open) {
		select {
		case a := <-answers:
			results[a.unit] = a.result
			delete(open, a.unit)
		case <-patience.C:
			e.markSlow(open)
			return
		case <-ctx.Done():
			return
		}
	}
}

func (e *Executor) worthWaiting(open map[string]route) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range open {
		if l := e.lanes[m]; l == nil || !l.slow {
			return true
		}
	}
	return false
}

func (e *Executor) markSlow(open map[string]route) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range open {
		if l := e.lanes[m]; l != nil {
			l.hung()
		}
	}
}

// start begins a step's call if its unit is free and its member has room.
func (e *Executor) start(key Key, gvr schema.GroupVersionResource, step *plan.Step, conn Connection,
	answers chan<- answer, left *atomic.Bool,
) bool {
	way := route{conn.Name(), key.Type}
	if !e.enter(way, key) {
		return false
	}
	if !e.ledger.begin(key, step.Unit, conn.Name()) {
		e.leave(way, nil)
		return false
	}
	go func() {
		began := e.opts.Now()
		ctx, done := e.call(conn.Context(), key.Type)
		defer done()
		result := believed(step, performSafely(ctx, gvr, step, conn))
		revision := ""
		if step.Action == plan.Create || step.Action == plan.Update {
			revision = step.Revision
		}
		now := e.opts.Now()
		e.ledger.contend(key, step, result, now)
		result = e.ledger.end(key, step.Unit, revision, result, now)
		took := now.Sub(began)
		e.opts.Observe(conn.Name(), step.Action, result.Outcome, took)
		e.leave(way, &took)
		answers <- answer{step.Unit, result} // never blocks: there is room for every step
		if left.Load() {
			e.wake(key)
		}
	}()
	return true
}

// call is the context of one call. Calls outlive the look that began them, but not the carrying of their type.
func (e *Executor) call(life context.Context, typ string) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(life, e.opts.CallTimeout)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastCall++
	id := e.lastCall
	if e.calls[typ] == nil {
		e.calls[typ] = map[int]context.CancelFunc{}
	}
	e.calls[typ][id] = cancel
	return ctx, func() {
		cancel()
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.calls[typ], id)
	}
}

// Drain cancels the calls of a type whose carrying has ended, and returns when none is under way any more.
func (e *Executor) Drain(typ string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for e.cancelCalls(typ); e.busy(typ); e.cancelCalls(typ) {
		<-tick.C
	}
}

func (e *Executor) cancelCalls(typ string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, cancel := range e.calls[typ] {
		cancel()
	}
}

func (e *Executor) busy(typ string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for way, l := range e.lanes {
		if way.typ == typ && l.underWay > 0 {
			return true
		}
	}
	return false
}

// What it takes for a slow member to be waited for again, and for its past to be forgotten.
const (
	firstTrust = 4
	lastTrust  = 1024
)

// hung notes that a call was not answered within the patience. Each time it takes more answers until the member is
// waited for again: one that hangs now and then would hold up a worker now and then.
func (l *lane) hung() {
	if !l.slow {
		l.needed = min(max(firstTrust, 2*l.needed), lastTrust)
	}
	l.slow, l.fast = true, 0
}

func (l *lane) answered(inTime bool) {
	if !inTime {
		l.hung()
		return
	}
	if l.fast++; l.slow && l.fast >= l.needed {
		l.slow = false
	}
	if !l.slow && l.fast >= lastTrust {
		l.needed = 0
	}
}

func (e *Executor) lane(way route) *lane {
	l := e.lanes[way]
	if l == nil {
		l = &lane{waiting: map[Key]bool{}}
		e.lanes[way] = l
	}
	return l
}

func (e *Executor) enter(way route, key Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lane(way)
	if l.underWay >= e.opts.CallsPerMember {
		l.waiting[key] = true
		return false
	}
	l.underWay++
	return true
}

// leave makes room in a member's lane and wakes as many objects as there is room for; when nothing is under way any
// more, all of them. Some may have nothing to do there by now, and would wake nobody in turn. Took is nil for a call
// that was not made.
func (e *Executor) leave(way route, took *time.Duration) {
	e.mu.Lock()
	l := e.lane(way)
	l.underWay--
	if took != nil {
		l.answered(*took <= e.opts.Patience)
	}
	room := e.opts.CallsPerMember - l.underWay
	if l.underWay == 0 {
		room = len(l.waiting)
	}
	var next []Key
	for k := range l.waiting {
		if len(next) == room {
			break
		}
		next = append(next, k)
		delete(l.waiting, k)
	}
	e.mu.Unlock()
	for _, k := range next {
		e.wake(k)
	}
}

func isWatched(u *unstructured.Unstructured) bool {
	return u.GetLabels()[wellknown.ManagedLabel] == wellknown.ManagedTrue
}
