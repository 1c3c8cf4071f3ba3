package storage

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/k3s-io/kine/pkg/server"
)

const (
	headSQL = `SELECT COALESCE((SELECT MAX(revision) FROM entries), 0),
		(SELECT value FROM facts WHERE name = 'compacted'), (SELECT value FROM facts WHERE name = 'swept')`

	getSQL = `SELECT revision, key, create_revision, version, lease, deleted, value FROM entries
		WHERE key = ?1 AND revision <= ?2 ORDER BY revision DESC LIMIT 1`

	// Walks the index by key and stops at the limit. An end of type BLOB sorts
	// after every key.
	listSQL = `SELECT e.revision, e.key, e.create_revision, e.version, e.lease, e.deleted, %s FROM entries AS e
		WHERE e.key >= ?1 AND e.key < ?2 AND e.revision <= ?3 AND e.deleted = 0
		AND NOT EXISTS (SELECT 1 FROM entries AS n WHERE n.key = e.key AND n.revision > e.revision AND n.revision <= ?3)
		ORDER BY e.key LIMIT ?4`

	// Beside MAX, SQLite takes the other columns from the row of the maximum; the
	// index alone answers.
	countSQL = `SELECT COUNT(*) FROM (SELECT MAX(revision), deleted FROM entries
		WHERE key >= ?1 AND key < ?2 AND revision <= ?3 GROUP BY key) WHERE deleted = 0`

	historySQL = `SELECT e.revision, e.key, e.create_revision, e.version, e.lease, e.deleted, e.value,
			p.revision, p.create_revision, p.version, p.lease, p.value
		FROM entries AS e LEFT JOIN entries AS p ON p.revision = e.previous
		WHERE e.revision > ?1 AND e.revision <= ?2 AND +e.key >= ?3 AND +e.key < ?4 ORDER BY e.revision`

	sizeSQL = `SELECT (c.page_count - f.freelist_count) * s.page_size
		FROM pragma_page_count AS c, pragma_freelist_count AS f, pragma_page_size AS s`
)

// reader answers from the pool of reading connections.
type reader struct {
	db                                                           *sql.DB
	headQ, getQ, listQ, listKeysQ, countQ, historyQ, sizeQ, dueQ *sql.Stmt
}

func newReader(ctx context.Context, db *sql.DB) (*reader, error) {
	r := &reader{db: db}
	for text, stmt := range map[string]**sql.Stmt{
		headSQL: &r.headQ, getSQL: &r.getQ, countSQL: &r.countQ, historySQL: &r.historyQ, sizeSQL: &r.sizeQ, dueSQL: &r.dueQ,
		fmt.Sprintf(listSQL, "e.value"): &r.listQ,
		fmt.Sprintf(listSQL, "NULL"):    &r.listKeysQ,
	} {
		var err error
		if *stmt, err = db.PrepareContext(ctx, text); err != nil {
			return nil, fmt.Errorf("preparing %q: %w", text, err)
		}
	}
	return r, nil
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
func (r *reader) look(ctx context.Context, see func(*snapshot) error) error {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	s := &snapshot{reader: r, ctx: ctx, tx: tx}
	var swept int64
	if err := tx.StmtContext(ctx, r.headQ).QueryRowContext(ctx).Scan(&s.revision, &s.compacted, &swept); err != nil {
		return fmt.Errorf("reading the last revision: %w", err)
	}
	return see(s)
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
func (k keyRange) bounds() (any, any) {
	switch {
	case k.end == "\x00", k.start == "" && k.end == "":
		return k.start, []byte{}
	case k.end == "":
		return k.start, k.start + "\x00"
	}
	return k.start, k.end
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
	rows, err := s.rows(s.getQ, key, revision)
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
	query := s.listQ
	if keysOnly {
		query = s.listKeysQ
	}
	if limit <= 0 {
		limit = -1 // SQLite's word for no limit
	}
	start, end := keys.bounds()
	rows, err := s.rows(query, start, end, revision, limit)
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
	start, end := keys.bounds()
	if err := s.tx.StmtContext(s.ctx, s.countQ).QueryRowContext(s.ctx, start, end, revision).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting %s: %w", keys.start, err)
	}
	return n, nil
}

// history reads the events after one revision up to another, that one included.
func (s *snapshot) history(keys keyRange, after, upTo int64) ([]*server.Event, error) {
	start, end := keys.bounds()
	rows, err := s.rows(s.historyQ, after, upTo, start, end)
	if err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", keys.start, err)
	}
	events, err := scanEvents(rows)
	if err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", keys.start, err)
	}
	return events, nil
}

func (s *snapshot) rows(query *sql.Stmt, args ...any) (*sql.Rows, error) {
	return s.tx.StmtContext(s.ctx, query).QueryContext(s.ctx, args...)
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

func scanEvents(rows *sql.Rows) ([]*server.Event, error) {
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	var events []*server.Event
	for rows.Next() {
		e, p := &server.Event{KV: &server.KeyValue{}}, &server.KeyValue{}
		var revision, created, version, lease sql.NullInt64
		if err := rows.Scan(&e.KV.ModRevision, &e.KV.Key, &e.KV.CreateRevision, &e.KV.Version, &e.KV.Lease, &e.Delete, &e.KV.Value,
			&revision, &created, &version, &lease, &p.Value); err != nil {
			return nil, err
		}
		e.Create = !e.Delete && e.KV.CreateRevision == e.KV.ModRevision
		if revision.Valid {
			p.Key, p.ModRevision, p.CreateRevision, p.Version, p.Lease = e.KV.Key, revision.Int64, created.Int64, version.Int64, lease.Int64
			e.PrevKV = p
		}
		events = append(events, e)
	}
	return events, rows.Err()
}
