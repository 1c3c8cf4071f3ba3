package storage

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"k8s.io/klog/v2"
)

// sweepStep is how many revisions one transaction of the sweep covers: it holds
// up a write for a few milliseconds at most.
const sweepStep = 500

// compact records that what was before revision is forgotten.
func (b *batch) compact(revision int64) error {
	if _, err := b.w.setFact.ExecContext(b.w.ctx, "compacted", revision); err != nil {
		return fmt.Errorf("recording the compacted revision: %w", err)
	}
	b.wrote, b.compacted = true, revision
	return nil
}

// sweep removes rows that nobody may read any more: of the next few compacted
// revisions, what they replaced, and deletions. It reports whether more is left.
// The newest row stays, whatever it is, so that revisions go on from there.
func (b *batch) sweep() (more bool, err error) {
	goal := min(b.compacted, b.revision-1)
	if b.swept >= goal {
		return false, nil
	}
	to := min(b.swept+sweepStep, goal)
	for _, drop := range []*sql.Stmt{b.w.dropReplaced, b.w.dropTombstones} {

		if _, err := drop.ExecContext(b.w.ctx, b.swept, to); err != nil {
			return false, fmt.Errorf("removing compacted rows: %w", err)
		}
	}
	if _, err := b.w.setFact.ExecContext(b.w.ctx, "swept", to); err != nil {
		return false, fmt.Errorf("recording the sweep: %w", err)
	}
	b.wrote, b.swept = true, to
	return to < goal, nil
}

// sweeper removes compacted rows in the background, between the writes. A sweep
// that was cut short, by an error or a kill, goes on from where it was.
type sweeper struct {
	backend *backend
	signal  chan struct{}
}

func newSweeper(b *backend) *sweeper {
	s := &sweeper{backend: b, signal: make(chan struct{}, 1)}
	s.wake() // what the last process left
	return s
}

func (s *sweeper) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *sweeper) run(ctx context.Context) {
	for {
		select {
		case <-s.signal:
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			err := s.backend.writer.do(ctx, 0, func(b *batch) (err error) {
				more, err = b.sweep()
				return err
			})
			if err != nil {
				if ctx.Err() == nil {
					klog.ErrorS(err, "Sweeping compacted revisions stopped, the next compaction takes it up")
				}
				break
			}
			pause(ctx, time.Millisecond) // let the writes that wait go first
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
