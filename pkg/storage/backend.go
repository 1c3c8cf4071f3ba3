package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// backend answers Kine. Each method returns the revision of the snapshot or
// transaction that its answer comes from.
type backend struct {
	data     *database
	writer   *writer
	reader   *reader
	hub      *hub
	follower *follower
	expirer  *expirer
	sweeper  *sweeper
	gauge    *gauge

	background sync.WaitGroup // follower, expirer and sweeper
}

var _ server.Backend = (*backend)(nil)

// Start begins to serve. ctx ends what runs in the background; the writer ends in
// close.
func (b *backend) Start(ctx context.Context) error {
	b.follower.anew = func(ctx context.Context) error { return b.writer.do(ctx, "", 0, func(*batch) error { return nil }) }
	if b.data.readOnly { // nobody writes here who could find out: whatever it is, it is followed
		b.follower.anew = func(ctx context.Context) error {
			h, err := b.reader.head(ctx, 0)
			if err == nil {
				b.follower.reset(tip{h.revision, h.epoch, h.stamp}, errRenewed)
			}
			return err
		}
	}
	if b.data.dialect.shared {
		b.reader.ahead = b.follower.poke
		b.background.Go(func() { b.follower.run(ctx) })
	}
	if b.data.readOnly {
		if !b.data.dialect.shared {
			b.hub.close(errReadOnly) // nobody would tell watchers of what the other process writes
		}
		return nil
	}
	b.expirer = newExpirer(b)
	b.sweeper = newSweeper(b)
	b.writer.wakeTTL = b.expirer.wake
	go b.writer.run()
	b.background.Go(func() { b.expirer.run(ctx) })
	b.background.Go(func() { b.sweeper.run(ctx) })
	err := b.touch(ctx)
	if begunAnew(err) { // it is known now, and recorded
		err = b.touch(ctx)
	}
	return err
}

// touch makes the key by which an API server learns whether its storage is well.
// As the first entry it also makes the first revision 1: zero is no revision.
func (b *backend) touch(ctx context.Context) error {
	err := b.writer.do(ctx, server.HealthKey, 0, func(t *batch) error {
		if t.latest(server.HealthKey) == nil {
			t.put(server.HealthKey, []byte(server.HealthVal), 0, nil)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing to the database: %w", err)
	}
	return nil
}

// Get reads one key as it was at a revision, 0 = now.
func (b *backend) Get(ctx context.Context, key string, revision int64, keysOnly bool) (rev int64, kv *server.KeyValue, err error) {
	err = b.reader.look(ctx, func(s *snapshot) (err error) {
		rev = s.revision
		at, err := s.at(revision)
		if err != nil {
			return err
		}
		if kv, err = s.get(key, at); kv != nil && keysOnly {
			kv.Value = nil
		}
		return err
	})
	return rev, kv, wire(err)
}

// List reads a range of keys as it was at a revision, 0 = now.
func (b *backend) List(ctx context.Context, key, end string, limit, revision int64, keysOnly bool) (rev int64, kvs []*server.KeyValue, err error) {
	err = b.reader.look(ctx, func(s *snapshot) (err error) {
		rev = s.revision
		at, err := s.at(revision)
		if err != nil {
			return err
		}
		kvs, err = s.list(keyRange{key, end}, limit, at, keysOnly)
		return err
	})
	return rev, kvs, wire(err)
}

// Count counts a range of keys. For a page of a list Kine puts the revision that
// is returned here above what List returned, and an API server watches from
// there on: so it must be the revision that was asked for, not a later one, or
// the writes in between would be seen by nobody.
func (b *backend) Count(ctx context.Context, key, end string, revision int64) (rev, n int64, err error) {
	err = b.reader.look(ctx, func(s *snapshot) (err error) {
		rev, err = s.at(revision)
		if err != nil {
			rev = s.revision
			return err
		}
		n, err = s.count(keyRange{key, end}, rev)
		return err
	})
	return rev, n, wire(err)
}

// Create writes a key that must not exist.
func (b *backend) Create(ctx context.Context, key string, value []byte, lease int64) (rev int64, err error) {
	exists := false
	err = b.write(ctx, key, len(value), func(t *batch) error {
		if exists = t.latest(key) != nil; exists {
			rev = t.revision
			return nil
		}
		rev = t.put(key, value, lease, nil).ModRevision
		return nil
	})
	if err == nil && exists {
		return rev, server.ErrKeyExists // Kine compares it by identity
	}
	return rev, wire(err)
}

// Update writes a key that must be at the given revision. If it is not, the
// answer is how the key stands.
func (b *backend) Update(ctx context.Context, key string, value []byte, revision, lease int64) (rev int64, kv *server.KeyValue, ok bool, err error) {
	err = b.write(ctx, key, len(value), func(t *batch) error {
		before := t.latest(key)
		kv, ok = before, before != nil && before.ModRevision == revision
		if rev = t.revision; !ok {
			return nil
		}
		kv = t.put(key, value, lease, before)
		rev = kv.ModRevision
		return nil
	})
	if err == nil && !ok && key == apiCompactKey {
		err = errCompactRace
	}
	if err != nil {
		return 0, nil, false, wire(err)
	}
	return rev, kv, ok, nil
}

// errCompactRace: for this one key Kine looks at the error of an update, but not
// at whether it took place.
var errCompactRace = errors.New("somebody else compacted at the same time")

// Put writes a key whatever it was, and answers what it was.
func (b *backend) Put(ctx context.Context, key string, value []byte, lease int64) (rev int64, before *server.KeyValue, err error) {
	err = b.write(ctx, key, len(value), func(t *batch) error {
		before = t.latest(key)
		rev = t.put(key, value, lease, before).ModRevision
		return nil
	})
	return rev, before, wire(err)
}

// Delete removes a key that must be at the given revision, 0 = at any. If it is
// not, the answer is how the key stands.
func (b *backend) Delete(ctx context.Context, key string, revision int64) (rev int64, kv *server.KeyValue, ok bool, err error) {
	err = b.write(ctx, key, 0, func(t *batch) error {
		kv = t.latest(key)
		rev = t.revision
		if kv == nil {
			ok = revision == 0 // nothing to remove is no failure if nothing was expected
			return nil
		}
		if ok = revision == 0 || kv.ModRevision == revision; ok {
			t.remove(kv)
			rev = t.revision
		}
		return nil
	})
	if err != nil {
		return 0, nil, false, wire(err)
	}
	return rev, kv, ok, nil
}

// write writes a key whose name every backend can hold.
func (b *backend) write(ctx context.Context, key string, size int, apply func(*batch) error) error {
	if len(key) > longestName {
		return status.Errorf(codes.InvalidArgument, "the key has %d bytes: at most %d can be stored", len(key), longestName)
	}
	return b.writer.do(ctx, key, size, apply)
}

// longestName is how many bytes a key may have: as many as the narrowest of the
// databases can index.
const longestName = 2048

// Compact forgets what was before a revision. From its answer on older reads
// and watches are refused; the entries go afterwards, a few at a time.
func (b *backend) Compact(ctx context.Context, revision int64) (rev int64, err error) {
	var refused error
	err = b.writer.do(ctx, "", 0, func(t *batch) error {
		rev, refused = t.revision, nil
		switch {
		case revision > t.revision:
			refused = server.ErrFutureRev
		case revision <= t.compacted:
			refused = server.ErrCompacted
		default:
			t.compact(revision)
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	if err == nil {
		b.sweeper.wake()
	}
	return rev, wire(err)
}

// CurrentRevision is the newest revision of which the watchers were told.
func (b *backend) CurrentRevision(context.Context) (int64, error) { return b.hub.published(), nil }

// WaitForSyncTo has nothing to wait for: an answer comes after the watchers.
func (b *backend) WaitForSyncTo(int64) {}

// DbSize is the size of what is in use, without free pages.
func (b *backend) DbSize(ctx context.Context) (size int64, err error) {
	err = b.reader.look(ctx, func(s *snapshot) (err error) {
		size, err = s.size()
		return err
	})
	return size, wire(err)
}

// watch starts a watch at a revision (0 = from now on). The events between that
// revision and now come with it; what follows, the watcher takes.
func (b *backend) watch(ctx context.Context, keys keyRange, revision int64) (w *watcher, past []*server.Event, upTo, compacted int64, err error) {
	if w, upTo, err = b.hub.subscribe(keys, revision-1); err != nil {
		return nil, nil, 0, 0, wire(err)
	}
	if revision > 0 && revision <= upTo {
		err = b.reader.look(ctx, func(s *snapshot) (err error) {
			if compacted = s.compacted; revision <= compacted {
				return server.ErrCompacted
			}
			compacted = 0
			past, _, err = s.history(keys, revision-1, upTo, noLimit)
			return err
		})
	}
	if err != nil {
		w.stop()
		return nil, nil, upTo, compacted, wire(err)
	}
	return w, past, upTo, 0, nil
}

// Watch is how Kine's own watch server would ask.
func (b *backend) Watch(ctx context.Context, key, end string, revision int64) server.WatchResult {
	events, errc := make(chan []*server.Event), make(chan error, 1)
	w, past, upTo, compacted, err := b.watch(ctx, keyRange{key, end}, revision)
	if err != nil {
		errc <- err
		close(events)
		return server.WatchResult{CurrentRevision: upTo, CompactRevision: compacted, Events: events, Errorc: errc}
	}
	go func() {
		defer close(events)
		defer w.stop()
		for {
			if len(past) > 0 {
				select {
				case events <- past:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-w.signal:
			case <-ctx.Done():
				return
			}
			if past, _, err = w.take(); err != nil {
				errc <- wire(err)
				return
			}
		}
	}()
	return server.WatchResult{CurrentRevision: upTo, Events: events, Errorc: errc}
}

// wire gives an error the shape in which it crosses the socket. What the
// database says must not look like something a client silently tries again.
func wire(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, errSlow) {
		return status.Error(codes.Internal, err.Error())
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if errors.Is(err, errClosed) {
		return status.Error(codes.Unavailable, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// close waits for the write that is going on, empties the log and closes the
// file. Requests and the context of Start must have ended before.
func (b *backend) close() error {
	b.background.Wait()
	if b.expirer != nil { // else Start was never reached, and nothing runs
		close(b.writer.stop)
		<-b.writer.stopped
	}
	return errors.Join(b.follower.mark.close(), b.data.close())
}
