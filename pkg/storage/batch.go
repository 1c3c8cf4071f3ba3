package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/k3s-io/kine/pkg/server"
)

// batch is one transaction in the making, under the head's lock. Writes are
// judged in memory against the newest entries of their names, which were fetched
// together, and appended together in the end.
type batch struct {
	head
	ctx     context.Context
	session *session
	from    int64 // the head's revision when the lock was taken
	mark    int64 // the stamp of the entries of this transaction: no other has it
	moved   bool  // the head has changed
	expires int64 // the earliest expiry among the entries
	events  []*server.Event
	expiry  []int64 // of each event
	newest  map[string]*server.KeyValue
}

func newBatch(ctx context.Context, s *session, h head) *batch {
	return &batch{head: h, ctx: ctx, session: s, from: h.revision, mark: newStamp(), newest: map[string]*server.KeyValue{}}
}

func (b *batch) wrote() bool { return b.moved || len(b.events) > 0 }

// fetch reads the newest entries of names.
func (b *batch) fetch(names []string) error {
	for len(names) > 0 {
		n := min(len(names), b.session.dialect.latestNames)
		if n > 1 && n < b.session.dialect.latestNames {
			n = powerOfTwo(n) // few texts instead of one for every number
		}
		args := make([]any, n)
		for i, name := range names[:n] {
			args[i] = b.session.dialect.name(name)
		}
		rows, err := b.session.query(b.ctx, b.session.dialect.latest(n), args...)
		if err != nil {
			return fmt.Errorf("reading what is to be replaced: %w", err)
		}
		kvs, err := scanKeyValues(rows)
		if err != nil {
			return fmt.Errorf("reading what is to be replaced: %w", err)
		}
		for _, kv := range kvs {
			b.newest[kv.Key] = kv
		}
		names = names[n:]
	}
	return nil
}

// powerOfTwo is the largest one that is not above n.
func powerOfTwo(n int) int {
	p := 1
	for p*2 <= n {
		p *= 2
	}
	return p
}

// latest is the newest entry of a name, nil if the name does not exist.
func (b *batch) latest(name string) *server.KeyValue { return b.newest[name] }

// put appends an entry that gives a name a value; previous is nil for a new one.
func (b *batch) put(name string, value []byte, lease int64, previous *server.KeyValue) *server.KeyValue {
	kv := &server.KeyValue{Key: name, Value: value, Lease: lease, ModRevision: b.revision + 1, CreateRevision: b.revision + 1, Version: 1}
	if previous != nil {
		kv.CreateRevision, kv.Version = previous.CreateRevision, previous.Version+1
	}
	var expires int64
	if lease > 0 {
		// Kine's leases are their own time to live, in seconds.
		expires = time.Now().Add(time.Duration(lease) * time.Second).UnixMilli()
	}
	b.append(&server.Event{Create: previous == nil, KV: kv, PrevKV: previous}, expires)
	b.newest[name] = kv
	return kv
}

// remove appends an entry that says that the name is gone.
func (b *batch) remove(previous *server.KeyValue) {
	kv := &server.KeyValue{Key: previous.Key, ModRevision: b.revision + 1}
	b.append(&server.Event{Delete: true, KV: kv, PrevKV: previous}, 0)
	delete(b.newest, previous.Key)
}

func (b *batch) append(e *server.Event, expires int64) {
	b.revision = e.KV.ModRevision
	b.events, b.expiry = append(b.events, e), append(b.expiry, expires)
	if expires > 0 && (b.expires == 0 || expires < b.expires) {
		b.expires = expires
	}
}

// flush sends what was decided: the entries, then the head.
func (b *batch) flush() error {
	d := b.session.dialect
	for from := 0; from < len(b.events); {
		to, bytes := from, 0
		for to < len(b.events) && to-from < d.insertRows && (to == from || bytes < d.insertBytes) {
			bytes += weight(b.events[to])
			to++
		}
		args := make([]any, 0, 10*(to-from))
		for i, e := range b.events[from:to] {
			var previous int64
			if e.PrevKV != nil {
				previous = e.PrevKV.ModRevision
			}
			kv := e.KV
			args = append(args, kv.ModRevision, d.name(kv.Key), bit(e.Delete), kv.CreateRevision, previous, kv.Version, kv.Lease,
				b.expiry[from+i], b.mark, kv.Value)
		}
		if err := b.session.exec(b.ctx, d.insert(to-from), args...); err != nil {
			return fmt.Errorf("writing %s: %w", b.events[from].KV.Key, err)
		}
		from = to
	}
	if len(b.events) > 0 {
		b.stamp = b.mark
	}
	return b.session.setHead(b.ctx, &b.head)
}

// newStamp makes the number of a transaction. Chance makes it its own: processes
// that write to one database know nothing of each other.
func newStamp() int64 { return rand.Int64N(1<<62) + 1 }

// bit is a truth as all databases store it.
func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
