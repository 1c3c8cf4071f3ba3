package storage

import (
	"context"
	"fmt"
	"time"

	"k8s.io/klog/v2"
)

// compact records that what was before revision is forgotten.
func (b *batch) compact(revision int64) { b.moved, b.compacted = true, revision }

// sweep removes entries that nobody may read any more: of the next few compacted
// revisions, what they replaced, and deletions. It reports whether more is left.
func (b *batch) sweep(step int64) (more bool, err error) {
	goal := b.sweepable()
	if b.swept >= goal {
		return false, nil
	}
	to := min(b.swept+step, goal)
	for _, drop := range []string{b.session.dialect.dropReplaced, b.session.dialect.dropTombstones} {
		if err := b.session.exec(b.ctx, drop, b.swept, to); err != nil {
			return false, fmt.Errorf("removing compacted entries: %w", err)
		}
	}
	b.moved, b.swept = true, to
	return to < goal, nil
}

// sweeper removes compacted entries in the background, between the writes. A
// sweep that was cut short, by an error or a kill, goes on from where it was.
type sweeper struct {
	backend *backend
	signal  chan struct{}
	step    int64 // smaller after a failure: a transaction has its time, and large values take some
}

func newSweeper(b *backend) *sweeper {
	s := &sweeper{backend: b, signal: make(chan struct{}, 1), step: b.data.dialect.sweepStep}
	s.wake() // what the last process left
	return s
}

func (s *sweeper) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// sweepRetry is how long a sweep that failed pauses before it goes on.
const sweepRetry = 5 * time.Second

func (s *sweeper) run(ctx context.Context) {
	for {
		select {
		case <-s.signal:
		case <-ctx.Done():
			return
		}
		for more := true; more && ctx.Err() == nil; {
			err := s.backend.writer.do(ctx, "", 0, func(b *batch) (err error) {
				more, err = b.sweep(s.step)
				return err
			})
			if err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Removing compacted entries failed, trying again", "after", sweepRetry)
				more, s.step = s.backend.writer.failure() == nil, max(s.step/2, 1)
				pause(ctx, sweepRetry)
			} else {
				s.step = min(2*s.step, s.backend.data.dialect.sweepStep)
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
