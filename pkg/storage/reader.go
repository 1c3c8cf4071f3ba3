package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/k3s-io/kine/pkg/server"
)

// reader answers from the pool of reading connections.
type reader struct {
	db      *sql.DB
	dialect *dialect
	hub     *hub
	// ahead is called when the log has more than the hub has seen, or goes on
	// differently.
	ahead func()
	stmts map[string]*sql.Stmt // prepared ahead, when the dialect wants it
}

func newReader(ctx context.Context, db *sql.DB, d *dialect, h *hub) (*reader, error) {
	r := &reader{db: db, dialect: d, hub: h, ahead: func() {}, stmts: map[string]*sql.Stmt{}}
	if !d.prepares {
		return r, nil
	}
	for _, text := range []string{headColumns, getSQL, d.list, d.listKeys, d.count, d.history, d.due, d.size} {
		stmt, err := db.PrepareContext(ctx, text)
		if err != nil {
			return nil, fmt.Errorf("preparing %q: %w", text, err)
		}
		r.stmts[text] = stmt
	}
	return r, nil
}

// head reads the head row; seen is of the entry at the revision asked.
func (r *reader) head(ctx context.Context, asked int64) (*head, error) {
	var row *sql.Row
	if stmt := r.stmts[headColumns]; stmt != nil {
		row = stmt.QueryRowContext(ctx, asked)
	} else {
		row = r.db.QueryRowContext(ctx, headColumns, asked)
	}
	h := &head{}
	if err := h.scan(row); err != nil {
		return nil, fmt.Errorf("reading the head of the log: %w", err)
	}
	return h, nil
}

// snapshot is one consistent picture of the database.
type snapshot struct {
	*reader
	ctx                 context.Context
	tx                  *sql.Tx
	revision, compacted int64
}

// look runs see on one snapshot. Everything that see reads, the revision and
// what was compacted included, belongs together.
func (r *reader) look(ctx context.Context, see func(*snapshot) error) (err error) {
	parent := ctx
	defer func() {
		// A deadline of ours must not look like the client's, who would try again.
		if parent.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
			err = fmt.Errorf("%w: %v", errSlow, err) //nolint:errorlint // for the reason above
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seen := r.hub.seen() // before the snapshot, which then must hold it
	tx, h, err := r.begin(ctx, cancel, seen.revision)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	if err := compare(seen, h); err != nil {
		r.ahead()
		return err
	}
	if h.revision > seen.revision {
		r.ahead() // somebody else wrote: whoever asks is about to want the events
	}
	return see(&snapshot{reader: r, ctx: ctx, tx: tx, revision: h.revision, compacted: h.compacted})
}

// begin takes a snapshot. A shared database that does not answer is not waited
// for as long as the request may last: the client shall hear of it.
func (r *reader) begin(ctx context.Context, cancel context.CancelCauseFunc, asked int64) (*sql.Tx, *head, error) {
	if r.dialect.shared {
		defer time.AfterFunc(patience, func() { cancel(errSlow) }).Stop()
	}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil && r.dialect.shared && ctx.Err() == nil && restedTooLong(err) {
		tx, err = r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	}
	h := &head{}
	if err == nil {
		if err = h.scan((&snapshot{reader: r, ctx: ctx, tx: tx}).row(headColumns, asked)); err != nil {
			_ = tx.Rollback() // the first error tells more
		}
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errSlow) {
			err = errSlow
		}
		return nil, nil, fmt.Errorf("reading the head of the log: %w", err)
	}
	return tx, h, nil
}

// at turns a requested revision (0 = now) into one that this snapshot can show.
func (s *snapshot) at(revision int64) (int64, error) {
	switch {
	case revision <= 0:
		return s.revision, nil
	case revision > s.revision:
		return 0, server.ErrFutureRev
	case revision < s.compacted:
		return 0, server.ErrCompacted
	}
	return revision, nil
}

// keyRange says which keys: one key, or those from start up to end.
type keyRange struct{ start, end string }

// bounds are the range as arguments of a query. The end "\x00" is etcd's for
// "all that follow"; both empty is every key.
func (k keyRange) bounds(d *dialect) (start, end any) {
	switch {
	case k.end == "\x00", k.start == "" && k.end == "":
		return d.name(k.start), d.everything
	case k.end == "":
		return d.name(k.start), d.name(k.start + "\x00")
	}
	return d.name(k.start), d.name(k.end)
}

func (k keyRange) contains(key string) bool {
	switch {
	case k.end == "\x00", k.start == "" && k.end == "":
		return key >= k.start
	case k.end == "":
		return key == k.start
	}
	return key >= k.start && key < k.end
}

func (s *snapshot) get(key string, revision int64) (*server.KeyValue, error) {
	rows, err := s.rows(getSQL, s.dialect.name(key), revision)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", key, err)
	}
	kvs, err := scanKeyValues(rows)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", key, err)
	}
	if len(kvs) == 0 {
		return nil, nil
	}
	return kvs[0], nil
}

func (s *snapshot) list(keys keyRange, limit, revision int64, keysOnly bool) ([]*server.KeyValue, error) {
	query := s.dialect.list
	if keysOnly {
		query = s.dialect.listKeys
	}
	if limit <= 0 {
		limit = noLimit
	}
	start, end := keys.bounds(s.dialect)
	rows, err := s.rows(query, start, end, revision, revision, limit)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", keys.start, err)
	}
	kvs, err := scanKeyValues(rows)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", keys.start, err)
	}
	return kvs, nil
}

func (s *snapshot) count(keys keyRange, revision int64) (n int64, err error) {
	start, end := keys.bounds(s.dialect)
	if err := s.row(s.dialect.count, start, end, revision).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting %s: %w", keys.start, err)
	}
	return n, nil
}

// size is how much room the database takes, in bytes.
func (s *snapshot) size() (n int64, err error) {
	if err := s.row(s.dialect.size).Scan(&n); err != nil {
		return 0, fmt.Errorf("reading the size of the database: %w", err)
	}
	return n, nil
}

// history reads the events after one revision up to another, that one included,
// and the stamps of their transactions.
func (s *snapshot) history(keys keyRange, after, upTo, limit int64) ([]*server.Event, []int64, error) {
	start, end := keys.bounds(s.dialect)
	rows, err := s.rows(s.dialect.history, after+1, upTo, start, end, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the history of %s: %w", keys.start, err)
	}
	events, stamps, err := scanEvents(rows)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the history of %s: %w", keys.start, err)
	}
	return events, stamps, nil
}

func (s *snapshot) rows(query string, args ...any) (*sql.Rows, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return s.tx.StmtContext(s.ctx, stmt).QueryContext(s.ctx, args...)
	}
	return s.tx.QueryContext(s.ctx, query, args...)
}

func (s *snapshot) row(query string, args ...any) *sql.Row {
	if stmt := s.stmts[query]; stmt != nil {
		return s.tx.StmtContext(s.ctx, stmt).QueryRowContext(s.ctx, args...)
	}
	return s.tx.QueryRowContext(s.ctx, query, args...)
}

// scanKeyValues reads all rows or gives an error: rows.Next ends the same way
// after the last row and after a failure, and only rows.Err knows which it was.
func scanKeyValues(rows *sql.Rows) ([]*server.KeyValue, error) {
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	var kvs []*server.KeyValue
	for rows.Next() {
		kv, deleted := &server.KeyValue{}, false
		if err := rows.Scan(&kv.ModRevision, &kv.Key, &kv.CreateRevision, &kv.Version, &kv.Lease, &deleted, &kv.Value); err != nil {
			return nil, err
		}
		if !deleted {
			kvs = append(kvs, kv)
		}
	}
	return kvs, rows.Err()
}

func scanEvents(rows *sql.Rows) (events []*server.Event, stamps []int64, err error) {
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	for rows.Next() {
		e, p := &server.Event{KV: &server.KeyValue{}}, &server.KeyValue{}
		var stamp int64
		var revision, created, version, lease sql.NullInt64
		if err := rows.Scan(&e.KV.ModRevision, &e.KV.Key, &e.KV.CreateRevision, &e.KV.Version, &e.KV.Lease, &e.Delete, &stamp, &e.KV.Value,
			&revision, &created, &version, &lease, &p.Value); err != nil {
			return nil, nil, err
		}
		e.Create = !e.Delete && e.KV.CreateRevision == e.KV.ModRevision
		if revision.Valid {
			p.Key, p.ModRevision, p.CreateRevision, p.Version, p.Lease = e.KV.Key, revision.Int64, created.Int64, version.Int64, lease.Int64
			e.PrevKV = p
		}
		events, stamps = append(events, e), append(stamps, stamp)
	}
	return events, stamps, rows.Err()
}
