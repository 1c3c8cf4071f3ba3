package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// batchWrites and batchBytes bound one transaction, and with it what a lone
	// write may have to wait for.
	batchWrites = 512
	batchBytes  = 8 << 20

	// patience is how long a write may take altogether in a database that others
	// share and that may be anywhere; lastTry is what a transaction gets at least:
	// enough to connect and write on a busy machine. The sum is below two seconds.
	patience = 1500 * time.Millisecond
	lastTry  = 450 * time.Millisecond

	// breather is how long a server that cannot be reached, or takes no writes, is
	// left alone: writes fail meanwhile with what it said, instead of each knocking.
	breather = 100 * time.Millisecond
)

var (
	errClosed = errors.New("storage is closed")
	errSlow   = fmt.Errorf("the database did not answer within %s", patience)
)

// change is one write on its way to the disk. apply is run inside the
// transaction, maybe twice (see commit), and leaves its answer where the caller
// finds it; it returns an error only when the database does.
type change struct {
	ctx   context.Context
	since time.Time
	name  string // what it reads and writes; "" = nothing of its own
	size  int
	apply func(*batch) error
	done  chan error
}

// writer is the only one in this process that writes. All writes pass through
// its goroutine, so that those that wait share a transaction; across processes the
// head's lock does what the goroutine does here: a compare and its put cannot be
// torn apart, and revisions have no holes.
type writer struct {
	ctx      context.Context // carries values only: a transaction ends by its own clock
	data     *database
	follower *follower
	changes  chan *change
	stop     chan struct{}
	stopped  chan struct{}
	dead     chan struct{}
	deadOnce sync.Once
	deadErr  error
	wakeTTL  func(at int64)
	gauge    *gauge

	// refusal is why the server is left alone until then.
	refusal error
	until   time.Time
}

func newWriter(ctx context.Context, data *database, f *follower) *writer {
	return &writer{
		ctx: ctx, data: data, follower: f,
		changes: make(chan *change), stop: make(chan struct{}), stopped: make(chan struct{}), dead: make(chan struct{}),
		wakeTTL: func(int64) {}, gauge: f.gauge,
	}
}

// do hands apply to the writing goroutine and waits until what it wrote is on
// the disk. Once accepted it is waited for even if ctx ends: it will be
// written, and nobody should be told otherwise.
func (w *writer) do(ctx context.Context, name string, size int, apply func(*batch) error) error {
	if w.data.readOnly {
		return errReadOnly
	}
	c := &change{ctx: ctx, since: time.Now(), name: name, size: size, apply: apply, done: make(chan error, 1)}
	var late <-chan time.Time
	if w.data.dialect.shared {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case w.changes <- c:
		return <-c.done
	case <-late:
		return errSlow
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return errClosed
	}
}

func (w *writer) run() {
	defer close(w.stopped)
	idle := time.NewTimer(quiet)
	defer idle.Stop()
	for {
		select {
		case c := <-w.changes:
			w.commit(w.gather(c))
			w.upkeep(w.data.boundLog)
			idle.Reset(quiet)
		case <-idle.C:
			if !w.upkeep(w.data.emptyLog) {
				idle.Reset(quiet) // a reader was in the way
			}
		case <-w.stop:
			w.upkeep(w.data.emptyLog)
			return
		}
	}
}

// upkeep looks after the file, unless nothing may touch it any more. It reports
// whether there is nothing left to do.
func (w *writer) upkeep(do func(context.Context) (bool, error)) bool {
	if w.failure() != nil {
		return true
	}
	done, err := do(w.ctx)
	if err != nil && w.data.lethal(err) {
		w.fail(err)
		return true
	}
	return done
}

// gather takes along whatever else is waiting right now. It does not wait for
// more: while one transaction is on its way to the disk the next one collects
// by itself, and a lone write goes at once.
func (w *writer) gather(first *change) []*change {
	all, size := []*change{first}, first.size
	for len(all) < batchWrites && size < batchBytes {
		select {
		case c := <-w.changes:
			all, size = append(all, c), size+c.size
		default:
			return all
		}
	}
	return all
}

// commit writes the changes in one transaction and answers them. If one of them
// cannot be written, each is tried by itself, so that the one that is at fault
// fails alone; but not if it is the database that fails, or if nobody knows what
// was written.
func (w *writer) commit(changes []*change) {
	live := changes[:0]
	for _, c := range changes {
		if err := c.ctx.Err(); err != nil {
			c.done <- err // its client is gone, nothing was written
			continue
		}
		live = append(live, c)
	}
	if len(live) == 0 {
		return
	}
	err := w.transact(live)
	var own *ownFault
	if len(live) > 1 && errors.As(err, &own) && w.failure() == nil {
		for _, c := range live {
			c.done <- w.transact([]*change{c})
		}
		return
	}
	for _, c := range live {
		c.done <- err
	}
}

// ownFault is an error that one of the changes may have by itself: the database
// answered, and nothing was written.
type ownFault struct{ error }

func (e *ownFault) Unwrap() error { return e.error }

// transact writes the changes, all or none, and tells the watchers.
func (w *writer) transact(changes []*change) error {
	if err := w.failure(); err != nil {
		return err
	}
	ctx, cancel := w.bound(changes[0])
	defer cancel()
	b, err := w.attempt(ctx, changes)
	if err != nil {
		if w.data.lethal(err) {
			w.fail(err)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			// A deadline of ours must not look like the client's, who would try again.
			err = fmt.Errorf("%w: %v", errSlow, err) //nolint:errorlint // for the reason above
		}
		return err
	}
	if b.wrote() {
		w.data.dirty = true
		w.follower.committed(b)
		w.gauge.note(&b.head, time.Now())
	}
	if b.expires > 0 {
		w.wakeTTL(b.expires)
	}
	return nil
}

// bound is how long a transaction may take whose first change has waited already.
// A file is waited for: to give up in the middle of a write helps nobody.
func (w *writer) bound(first *change) (context.Context, context.CancelFunc) {
	if !w.data.dialect.shared {
		return w.ctx, func() {}
	}
	return context.WithTimeout(w.ctx, max(patience-time.Since(first.since), lastTry))
}

func (w *writer) attempt(ctx context.Context, changes []*change) (*batch, error) {
	seen := w.follower.hub.seen()
	s, h, err := w.lock(ctx, seen.revision)
	if err != nil {
		return nil, err
	}
	if err := compare(seen, &h); err != nil {
		return nil, w.begunAnew(ctx, s, h, err)
	}
	b := newBatch(ctx, s, h)
	if err := w.fill(b, changes); err != nil {
		return nil, w.abandon(ctx, err)
	}
	if !b.wrote() {
		// Only refusals: there is nothing to wait for the disk for.
		return b, w.abandon(ctx, nil)
	}
	if err := b.flush(); err != nil {
		return nil, w.abandon(ctx, err)
	}
	if err := s.exec(ctx, `COMMIT`); err != nil {
		return w.settle(ctx, b, fmt.Errorf("committing: %w", err))
	}
	w.data.settled()
	return b, nil
}

// fill judges the changes against what is there.
func (w *writer) fill(b *batch, changes []*change) error {
	names := make([]string, 0, len(changes))
	for _, c := range changes {
		if c.name != "" {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	if err := b.fetch(slices.Compact(names)); err != nil {
		return err
	}
	for _, c := range changes {
		if err := c.apply(b); err != nil {
			return err
		}
	}
	return nil
}

// lock begins a transaction. A connection that has died since it was last used
// is no reason to fail: nothing was asked of it yet, so a new one is tried.
func (w *writer) lock(ctx context.Context, asked int64) (*session, head, error) {
	if w.refusal != nil && time.Now().Before(w.until) {
		return nil, head{}, w.refusal
	}
	w.refusal = nil
	for again := false; ; again = true {
		s, err := w.data.session(ctx)
		if err != nil {
			return nil, head{}, w.breathe(fmt.Errorf("connecting to the database: %w", err))
		}
		h, err := s.lock(ctx, asked)
		if err == nil {
			return s, h, nil
		}
		stale := w.data.lost(err) && !answered(err)
		if err = w.abandon(ctx, err); again || !stale || ctx.Err() != nil {
			var own *ownFault
			if errors.As(err, &own) && w.data.dialect.shared {
				err = own.error // a lock that cannot be had is no change's fault: trying each alone would only wait again
			}
			return nil, head{}, err
		}
	}
}

// breathe remembers why the server is left alone for a moment.
func (w *writer) breathe(why error) error {
	if w.data.dialect.shared {
		w.refusal, w.until = why, time.Now().Add(breather)
	}
	return why
}

// abandon rolls back. A database rolls back by itself after some errors, so that
// there may be nothing left to roll back; a transaction that is still open
// afterwards would show when the next one begins, and fail it. A connection that
// is in doubt is given up: the server rolls back what it left open.
func (w *writer) abandon(ctx context.Context, cause error) error {
	if cause != nil && w.data.lost(cause) {
		w.data.drop()
		if uselessServer(cause) {
			w.data.moved()
			return w.breathe(cause)
		}
		return cause
	}
	s := w.data.write
	err := s.exec(ctx, `ROLLBACK`)
	if err != nil && w.data.dialect.shared {
		w.data.drop()
	}
	if cause == nil && err != nil {
		return fmt.Errorf("rolling back: %w", err)
	}
	if cause != nil {
		return &ownFault{cause}
	}
	return nil
}

// settle finds out what became of a transaction whose commit failed. In a shared
// database the answer may have been lost on the way: under the head's lock, which
// the transaction held as long as it lived, its entries are there or will never
// be.
func (w *writer) settle(ctx context.Context, b *batch, cause error) (*batch, error) {
	if !w.data.dialect.shared {
		return nil, w.abandon(ctx, cause)
	}
	w.data.drop()
	for {
		s, h, err := w.lock(ctx, b.revision)
		there := false
		if err == nil {
			// Asked anew: what the lock's own statement saw of the entries may be from
			// before it had to wait.
			if there, err = s.wrote(ctx, b); err != nil {
				err = w.abandon(ctx, err)
			}
		}
		switch {
		case err == nil && there && h.epoch == b.epoch:
			b.session = s
			_ = w.abandon(ctx, nil) // a connection that cannot roll back was given up; what was written is written
			return b, nil
		case err == nil && there: // and then the database was exchanged for another one
			_ = w.abandon(ctx, nil)
			return nil, fmt.Errorf("%w; whether what was written still holds is not known", cause)
		case err == nil:
			_ = w.abandon(ctx, nil) // the next transaction begins by itself
			return nil, fmt.Errorf("%w; nothing was written", cause)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%w; whether it was written is not known: %v", cause, err) //nolint:errorlint // one cause is enough
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// fail ends all writing for good: see lethal.
func (w *writer) fail(err error) {
	w.deadOnce.Do(func() {
		w.deadErr = fmt.Errorf("the database can no longer be trusted, restart needed: %w", err)
		close(w.dead)
	})
}

func (w *writer) failure() error {
	select {
	case <-w.dead:
		return w.deadErr
	default:
		return nil
	}
}
