package apply

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/plan"
)

// Key names a federated object: Type is the name of its FederatedTypeConfig.
type Key struct {
	Type, Namespace, Name string
}

// Pauses between repeated failures double from the first to the last.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// Sights that no watch will correct are looked at again after these times: objects that carry the managed label are
// watched, so their sight only bridges a watch that lags; others are not.
const (
	watchedSight   = 15 * time.Second
	unwatchedSight = time.Minute
)

// Ledger remembers, per object and unit, calls under way, what was last seen by a call, and failures.
type Ledger struct {
	mu    sync.Mutex
	units map[Key]map[string]*line
}

type line struct {
	member   string // that the last call went to
	moved    int    // conflicts in a row
	inFlight bool
	vanished bool // the watch showed that the object went while the call was under way
	sight    *unstructured.Unstructured
	seen     time.Time

	failure  *plan.Failure
	worded   time.Time // when the failure's words were last taken over
	until    time.Time
	failures int

	contest   *contest
	confirmed *plan.Confirmed
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{units: map[Key]map[string]*line{}} }

// Recollection is what a ledger knows of one unit.
type Recollection struct {
	InFlight bool
	// Observed is the newer of what the watch shows and what a call saw.
	Observed *unstructured.Unstructured
	// Probe: Observed is of a kind that no watch corrects, and old.
	Probe   bool
	Failure *plan.Failure
	// Until is when the failure may be repeated; zero without one.
	Until time.Time
	// Expires is when Observed, which the watch has not shown yet, is not believed any longer; zero when it has.
	Expires time.Time
	// Contest is a fight over the copy that was given up until Truce.
	Contest *plan.Contest
	Truce   time.Time
	// Confirmed is the last write that the member confirmed.
	Confirmed *plan.Confirmed
}

// Recall says what is known of a unit now; watched is what the watch shows (nil = nothing).
func (l *Ledger) Recall(key Key, unit string, watched *unstructured.Unstructured, now time.Time) Recollection {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.units[key][unit]
	if e == nil {
		return Recollection{Observed: watched}
	}
	r := Recollection{InFlight: e.inFlight, Observed: watched}
	if e.sight != nil && !outdated(e.sight, watched) {
		life := watchedSight
		if !isWatched(e.sight) {
			life = unwatchedSight
		}
		switch old := now.Sub(e.seen) > life; {
		case !old:
			r.Observed, r.Expires = e.sight, e.seen.Add(life)
		case isWatched(e.sight):
			e.sight = nil
		default:
			r.Observed, r.Probe = e.sight, true
		}
	} else {
		e.sight = nil
	}
	if e.failure != nil && now.Before(e.until) {
		r.Failure, r.Until = e.failure, e.until
	}
	r.Contest, r.Truce = e.contest.now(now)
	r.Confirmed = e.confirmed
	return r
}

// outdated tells whether the watch is at least as new as the sight. Resource versions of one object compare as
// numbers; where they are none, the watch is believed.
func outdated(sight, watched *unstructured.Unstructured) bool {
	if watched == nil {
		return false
	}
	if watched.GetUID() != sight.GetUID() {
		return true
	}
	return !Newer(sight.GetResourceVersion(), watched.GetResourceVersion())
}

// Newer compares two resource versions of one object. Where they are no numbers, neither is newer.
func Newer(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x > y
}

// Watched tells the ledger that the watch showed a change of a unit's object (nil = it went). It returns false if the
// change is the echo of a call of our own, which nobody needs to look at.
func (l *Ledger) Watched(key Key, unit string, watched *unstructured.Unstructured) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.units[key][unit]
	if e == nil {
		return true
	}
	if watched == nil {
		e.sight, e.vanished = nil, e.inFlight
		return true
	}
	if e.sight == nil {
		return true
	}
	return watched.GetResourceVersion() != e.sight.GetResourceVersion()
}

// Forget drops everything about an object that is gone.
func (l *Ledger) Forget(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.units, key)
}

// ForgetFailures lets the failures in a member be repeated at once: it came back, or went.
func (l *Ledger) ForgetFailures(key Key, member string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.units[key] {
		if e.member == member {
			e.failure, e.failures = nil, 0
		}
	}
}

func (l *Ledger) line(key Key, unit string) *line {
	units := l.units[key]
	if units == nil {
		units = map[string]*line{}
		l.units[key] = units
	}
	e := units[unit]
	if e == nil {
		e = &line{}
		units[unit] = e
	}
	return e
}

// begin marks a call as under way; false if there is one already.
func (l *Ledger) begin(key Key, unit, member string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.line(key, unit)
	if e.inFlight {
		return false
	}
	e.inFlight, e.vanished, e.member = true, false, member
	return true
}

// end notes what came of a call, and returns it as it is to be told.
func (l *Ledger) end(key Key, unit, revision string, r plan.Result, now time.Time) plan.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.units[key][unit]
	if e == nil {
		return r // the object was forgotten meanwhile
	}
	e.inFlight = false
	told := r
	if r = e.patient(r); r.Outcome != plan.Failed && r.Outcome != plan.Found && r.Outcome != plan.Stale {
		e.moved = 0
	}
	switch r.Outcome {
	case plan.Done, plan.Found:
		e.sight, e.seen = r.Object, now
		if e.vanished {
			// Which came first is not known. No watch would ever take back the sight of what is gone; the sight of what
			// is there is soon made again.
			e.sight = nil
		}
		e.failure, e.failures = nil, 0
	case plan.Gone:
		e.sight, e.failure, e.failures = nil, nil, 0
	case plan.Stale:
		e.sight = nil
	case plan.Failed:
		r.Why = e.word(r.Why, revision, now)
		if told.Outcome == plan.Failed {
			told = r
		}
		e.failures++
		e.failure = &plan.Failure{Why: r.Why, Revision: revision}
		e.until = now.Add(pause(e.failures))
	}
	return told
}

// movedTooOften is how many times in a row a member may answer a write with "it changed meanwhile".
const movedTooOften = 6

// patient turns the last of too many conflicts in a row into the failure that it is: something in the member, a webhook
// for instance, does not let the write through, and says so only there.
func (e *line) patient(r plan.Result) plan.Result {
	if (r.Outcome != plan.Found && r.Outcome != plan.Stale) || r.Why.Code == "" {
		return r
	}
	if e.moved++; e.moved < movedTooOften {
		return r
	}
	return plan.Result{Outcome: plan.Failed, Why: r.Why}
}

func pause(failures int) time.Duration {
	d := firstPause
	for i := 1; i < failures && d < lastPause; i++ {
		d *= 2
	}
	if d > lastPause {
		d = lastPause
	}
	// A tenth of jitter: what failed together must not come back together.
	return d + time.Duration(rand.Int64N(int64(d)/10))
}
