package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/server"
)

const (
	// batchWrites and batchBytes bound one transaction, and with it what a lone
	// write may have to wait for.
	batchWrites = 512
	batchBytes  = 8 << 20

	// quiet is how long nothing is written before the log is copied into the
	// database and emptied.
	quiet = time.Second

	// walLimit is the size of the log at which a write waits for the readers that
	// keep it from being used from the start again; it is looked at every so many
	// transactions.
	walLimit = 64 << 20
	walEvery = 64
)

var errClosed = errors.New("storage is closed")

// change is one write on its way to the disk. apply is run inside the
// transaction, maybe twice (see commit), and leaves its answer where the caller
// finds it; it returns an error only when the database does.
type change struct {
	ctx   context.Context
	size  int
	apply func(*batch) error
	done  chan error
}

// writer owns the writing connection. All writes pass through its goroutine,
// so a compare and its put cannot be torn apart and revisions have no holes.
type writer struct {
	refuses  error           // what every write is answered, if set
	ctx      context.Context // carries values only: a transaction is never interrupted half way
	conn     *sql.Conn
	hub      *hub
	changes  chan *change
	stop     chan struct{}
	stopped  chan struct{}
	dead     chan struct{}
	deadOnce sync.Once
	deadErr  error
	dirty    bool // the log holds pages that the database does not
	commits  int
	wal      string // the log's path
	wakeTTL  func(at int64)

	revision, compacted, swept int64

	begin, commitTx, rollback, latest, insert, setFact, dropReplaced, dropTombstones *sql.Stmt
}

func newWriter(ctx context.Context, data *database) (*writer, error) {
	conn := data.write
	w := &writer{
		ctx: ctx, conn: conn, wal: data.path + "-wal",
		changes: make(chan *change), stop: make(chan struct{}), stopped: make(chan struct{}), dead: make(chan struct{}),
		wakeTTL: func(int64) {},
	}
	for text, stmt := range map[string]**sql.Stmt{
		`BEGIN IMMEDIATE`: &w.begin,
		`COMMIT`:          &w.commitTx,
		`ROLLBACK`:        &w.rollback,
		`SELECT revision, deleted, create_revision, version, lease, value FROM entries
			WHERE key = ? ORDER BY revision DESC LIMIT 1`: &w.latest,
		`INSERT INTO entries (revision, key, deleted, create_revision, previous, version, lease, expires, value)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`: &w.insert,
		`UPDATE facts SET value = ?2 WHERE name = ?1`: &w.setFact,
		`DELETE FROM entries WHERE revision IN (SELECT previous FROM entries WHERE revision > ?1 AND revision <= ?2 AND previous > 0)`: &w.dropReplaced,
		`DELETE FROM entries WHERE revision > ?1 AND revision <= ?2 AND deleted = 1`:                                                   &w.dropTombstones,
	} {
		var err error
		if *stmt, err = conn.PrepareContext(ctx, text); err != nil {
			return nil, fmt.Errorf("preparing %q: %w", text, err)
		}
	}
	row := conn.QueryRowContext(ctx, headSQL)
	if err := row.Scan(&w.revision, &w.compacted, &w.swept); err != nil {
		return nil, fmt.Errorf("reading the last revision: %w", err)
	}
	return w, nil
}

// do hands apply to the writing goroutine and waits until what it wrote is on
// the disk. Once accepted it is waited for even if ctx ends: it will be
// written, and nobody should be told otherwise.
func (w *writer) do(ctx context.Context, size int, apply func(*batch) error) error {
	if w.refuses != nil {
		return w.refuses
	}
	c := &change{ctx: ctx, size: size, apply: apply, done: make(chan error, 1)}
	select {
	case w.changes <- c:
		return <-c.done
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
			w.boundLog()
			idle.Reset(quiet)
		case <-idle.C:
			if w.dirty && !w.checkpoint() {
				idle.Reset(quiet) // a reader was in the way
			}
		case <-w.stop:
			w.checkpoint()
			return
		}
	}
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
// fails alone.
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
	if err != nil && len(live) > 1 && w.failure() == nil {
		for _, c := range live {
			c.done <- w.transact([]*change{c})
		}
		return
	}
	for _, c := range live {
		c.done <- err
	}
}

// transact writes the changes, all or none, and tells the watchers.
func (w *writer) transact(changes []*change) error {
	if err := w.failure(); err != nil {
		return err
	}
	b := &batch{w: w, revision: w.revision, compacted: w.compacted, swept: w.swept}
	err := w.attempt(b, changes)
	if err != nil {
		if lethal(err) {
			w.fail(err)
		}
		return err
	}
	w.dirty = w.dirty || b.wrote
	w.revision, w.compacted, w.swept = b.revision, b.compacted, b.swept
	w.hub.publish(b.revision, b.events)
	if b.expires > 0 {
		w.wakeTTL(b.expires)
	}
	return nil
}

func (w *writer) attempt(b *batch, changes []*change) error {
	if _, err := w.begin.ExecContext(w.ctx); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	for _, c := range changes {
		if err := c.apply(b); err != nil {
			return w.abandon(err)
		}
	}
	if !b.wrote {
		// Only refusals: there is nothing to wait for the disk for.
		return w.abandon(nil)
	}
	if _, err := w.commitTx.ExecContext(w.ctx); err != nil {
		return w.abandon(fmt.Errorf("committing: %w", err))
	}
	return nil
}

// abandon rolls back. SQLite rolls back by itself after some errors, so that
// there may be nothing left to roll back; a transaction that is still open
// afterwards would show when the next one begins, and fail it.
func (w *writer) abandon(cause error) error {
	_, err := w.rollback.ExecContext(w.ctx)
	if cause == nil && err != nil {
		return fmt.Errorf("rolling back: %w", err)
	}
	return cause
}

// checkpoint copies the log into the database and empties it. It reports
// whether it could: a reader that still looks at the log is in the way.
func (w *writer) checkpoint() bool {
	if w.failure() != nil {
		return true // nothing may touch the file any more
	}
	var busy, pages, moved int
	err := w.conn.QueryRowContext(w.ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err != nil && lethal(err) {
		w.fail(err)
		return true
	}
	if err == nil && busy == 0 {
		w.dirty = false
	}
	return !w.dirty
}

// boundLog keeps readers that overlap each other without end from making the
// log grow without end.
func (w *writer) boundLog() {
	if w.commits++; w.commits%walEvery != 0 {
		return
	}
	if info, err := os.Stat(w.wal); err == nil && info.Size() > walLimit {
		w.checkpoint()
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

// batch is one transaction in the making.
type batch struct {
	w                          *writer
	wrote                      bool
	revision, compacted, swept int64
	expires                    int64 // the earliest expiry among the entries
	events                     []*server.Event
}

// latest reads the newest entry of a key, nil if the key does not exist.
func (b *batch) latest(key string) (*server.KeyValue, error) {
	kv := &server.KeyValue{Key: key}
	var deleted bool
	row := b.w.latest.QueryRowContext(b.w.ctx, key)
	err := row.Scan(&kv.ModRevision, &deleted, &kv.CreateRevision, &kv.Version, &kv.Lease, &kv.Value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", key, err)
	}
	if deleted {
		return nil, nil
	}
	return kv, nil
}

// put appends an entry that gives key a value; previous is nil for a new key.
func (b *batch) put(key string, value []byte, lease int64, previous *server.KeyValue) (*server.KeyValue, error) {
	kv := &server.KeyValue{Key: key, Value: value, Lease: lease, ModRevision: b.revision + 1, CreateRevision: b.revision + 1, Version: 1}
	if previous != nil {
		kv.CreateRevision, kv.Version = previous.CreateRevision, previous.Version+1
	}
	var expires int64
	if lease > 0 {
		// Kine's leases are their own time to live, in seconds.
		expires = time.Now().Add(time.Duration(lease) * time.Second).UnixMilli()
	}
	return kv, b.append(&server.Event{Create: previous == nil, KV: kv, PrevKV: previous}, expires)
}

// remove appends an entry that says that the key is gone.
func (b *batch) remove(previous *server.KeyValue) error {
	kv := &server.KeyValue{Key: previous.Key, ModRevision: b.revision + 1}
	return b.append(&server.Event{Delete: true, KV: kv, PrevKV: previous}, 0)
}

func (b *batch) append(e *server.Event, expires int64) error {
	var previous int64
	if e.PrevKV != nil {
		previous = e.PrevKV.ModRevision
	}
	kv := e.KV
	_, err := b.w.insert.ExecContext(b.w.ctx, kv.ModRevision, kv.Key, e.Delete, kv.CreateRevision, previous, kv.Version, kv.Lease, expires, kv.Value)
	if err != nil {
		return fmt.Errorf("writing key %s: %w", kv.Key, err)
	}
	b.wrote = true
	b.revision = kv.ModRevision
	b.events = append(b.events, e)
	if expires > 0 && (b.expires == 0 || expires < b.expires) {
		b.expires = expires
	}
	return nil
}
