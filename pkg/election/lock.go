package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// errOver is what an elector is told that wants to go on with a lease that it has lost.
var errOver = errors.New("the lease was lost: a new term has to begin")

// lock is the lease of one term, as client-go's elector sees it. What the elector reads and writes tells when the fence
// is open, and when the term is over.
type lock struct {
	resourcelock.Interface
	client coordinationclient.LeasesGetter // for who waits
	fence  *Fence
	now    func() time.Time
	// lost is closed when the lease turns out to be another's, or nobody's.
	lost chan struct{}

	mu     sync.Mutex
	held   bool
	over   bool
	holder string // as last read
	why    error  // what went wrong last
}

func newLock(inner resourcelock.Interface, valid time.Duration) *lock {
	return &lock{Interface: inner, fence: &Fence{valid: valid, now: time.Now}, now: time.Now, lost: make(chan struct{})}
}

// Get implements resourcelock.Interface.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.holder = record.HolderIdentity
		if l.held && l.holder != l.Identity() {
			l.lose(fmt.Errorf("the lease is held by %q", l.holder))
		}
	case apierrors.IsNotFound(err):
		l.holder = ""
		if l.held {
			l.lose(errors.New("the lease was deleted"))
		}
	default:
		l.why = err
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

// Update implements resourcelock.Interface.
func (l *lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *lock) write(ctx context.Context, record resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	l.mu.Lock()
	over, release := l.over, record.HolderIdentity == ""
	if release {
		// Before the lease is another's: what did not end in time must not write any more.
		l.fence.end()
		over = over || l.holder != l.Identity()
	}
	l.mu.Unlock()
	if over {
		return errOver
	}
	sent := l.now()
	err := write(ctx, record)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.why = err
	case !release:
		l.held, l.why = true, nil
		l.fence.renew(sent)
	}
	return err
}

// lose ends the term.
func (l *lock) lose(why error) {
	l.fence.end()
	if !l.over {
		l.over, l.why = true, why
		close(l.lost)
	}
}

// reason is why the lease was lost, as far as it is known.
func (l *lock) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		return errors.New("it was not renewed in time")
	}
	return l.why
}
