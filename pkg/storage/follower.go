package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"k8s.io/klog/v2"
)

const (
	// pollEvery is how often the head of a shared database is looked at: what other
	// servers write is seen that much later here. A look reads one row and one entry.
	pollEvery = 40 * time.Millisecond
	// pollRetry is the longest pause while the database does not answer.
	pollRetry = 400 * time.Millisecond
	pollLimit = 2 * time.Second

	// page bounds the entries that are read at once to catch up.
	page = 500
)

// follower brings entries to the hub in the order of their revisions: what this
// process writes as soon as it is committed, and what others wrote before that,
// or meanwhile.
type follower struct {
	hub    *hub
	reader *reader
	mark   *mark
	gauge  *gauge
	signal chan struct{}
	// anew asks the writer to look at the head, which finds out about a loss.
	anew func(context.Context) error

	mu sync.Mutex // what is published next is decided by one at a time
}

func newFollower(h *hub, r *reader, m *mark, g *gauge) *follower {
	return &follower{hub: h, reader: r, mark: m, gauge: g, signal: make(chan struct{}, 1)}
}

// poke has the head looked at now.
func (f *follower) poke() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// committed tells of a transaction of this process. Entries of others that came
// before it go first.
func (f *follower) committed(b *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(b.events) == 0 {
		return
	}
	if seen := f.hub.seen(); seen.revision < b.from {
		if err := f.catchUp(b.ctx, b.from); err != nil {
			f.poke() // the poll takes up from here, these entries included
			return
		}
	}
	if f.hub.seen().revision != b.from {
		return // begun anew meanwhile
	}
	f.publish(tip{b.revision, b.epoch, b.stamp}, b.events)
}

func (f *follower) publish(t tip, events []*server.Event) {
	f.mark.set(t)
	f.hub.publish(t, events)
}

// reset sends all watchers back to list.
func (f *follower) reset(t tip, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resetLocked(t, why)
}

func (f *follower) resetLocked(t tip, why error) {
	f.mark.set(t)
	f.hub.reset(t, errNewHistory)
	klog.InfoS("Watches begin anew", "revision", t.revision, "reason", why)
}

// run polls until ctx ends.
func (f *follower) run(ctx context.Context) {
	wait := pollEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-f.signal:
		case <-ctx.Done():
			return
		}
		err := f.poll(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case begunAnew(err):
			// The writer compares under the lock, and says what is to be said.
			_ = f.anew(ctx)
			wait = pollEvery
		case err != nil:
			wait = min(2*wait, pollRetry)
		default:
			wait = pollEvery
		}
		timer.Reset(wait)
	}
}

// poll publishes what others wrote.
func (f *follower) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	seen := f.hub.seen()
	h, err := f.reader.head(ctx, seen.revision) // not under the lock: a write that is committed waits for that
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hub.seen() != seen {
		return nil // a write of this process was here meanwhile, and brought what was before it
	}
	if err := compare(seen, h); err != nil {
		return err
	}
	f.gauge.note(h, time.Now())
	err = f.catchUp(ctx, h.revision)
	if !errors.Is(err, errBehind) {
		return err
	}
	now, headErr := f.reader.head(ctx, 0) // the one above may be as old as what was seen
	if headErr != nil {
		return headErr
	}
	f.resetLocked(tip{now.revision, now.epoch, now.stamp}, err)
	return nil
}

// catchUp publishes what is in the log up to a revision that is committed. It is
// called with the follower locked.
func (f *follower) catchUp(ctx context.Context, upTo int64) error {
	for {
		seen := f.hub.seen()
		if seen.revision >= upTo {
			return nil
		}
		var events []*server.Event
		var stamps []int64
		err := f.reader.look(ctx, func(s *snapshot) (err error) {
			if s.compacted > seen.revision {
				return errBehind
			}
			events, stamps, err = s.history(keyRange{}, seen.revision, upTo, page)
			return err
		})
		if err != nil {
			return err
		}
		if err := f.continues(seen, events); err != nil {
			return err
		}
		last := len(events) - 1
		f.publish(tip{events[last].KV.ModRevision, seen.epoch, stamps[last]}, events)
	}
}

// continues checks that entries go on from what was seen, one by one. An order of
// commits that is not the order of revisions would show here.
func (f *follower) continues(seen tip, events []*server.Event) error {
	if len(events) == 0 {
		return fmt.Errorf("the entry after revision %d is missing", seen.revision)
	}
	next := seen.revision
	for _, e := range events {
		if next++; e.KV.ModRevision != next {
			return fmt.Errorf("the entry of revision %d is missing", next)
		}
	}
	return nil
}
