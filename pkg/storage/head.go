package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// head is the one row that says how far the log goes. Whoever writes holds its
// lock until the commit: that is what makes the order of revisions the order of
// commits, in every process that writes to this database.
type head struct {
	revision, compacted, swept int64
	// epoch is another number after entries were lost, see loss.go.
	epoch int64
	// stamp is that of the transaction that made the revision.
	stamp int64
	// seen is the stamp of the entry that was asked about; null = there is none.
	seen sql.NullInt64
}

// sweepable is up to which revision entries may be removed. The newest entry
// stays, whatever it is: it is what a restarted process compares with what it saw
// before.
func (h *head) sweepable() int64 { return min(h.compacted, h.revision-1) }

// unswept is how many revisions can be removed.
func (h *head) unswept() int64 { return max(h.sweepable()-h.swept, 0) }

// scan reads the columns of headSQL.
func (h *head) scan(row *sql.Row) error {
	err := row.Scan(&h.revision, &h.compacted, &h.swept, &h.epoch, &h.stamp, &h.seen)
	if errors.Is(err, sql.ErrNoRows) {
		return errors.New("the head row is gone: the database was emptied, restore it")
	}
	return err
}

// tip is how much of the log a process has seen, and told its watchers.
type tip struct{ revision, epoch, stamp int64 }

// Errors of a process whose view of the log is not what the database holds any
// more. Its watchers are sent back to list; what was asked meanwhile is refused.
var (
	errLost    = errors.New("the database has lost entries that were acknowledged; all watches begin anew, try again")
	errRenewed = errors.New("another server found that the database has lost entries; all watches begin anew, try again")
	errBehind  = errors.New("this server was away for longer than history is kept; all watches begin anew, try again")
)

// compare says whether a log with this head goes on from what a process saw.
// h.seen must be of the revision seen.
func compare(seen tip, h *head) error {
	switch {
	case seen.revision == 0: // nothing was seen yet
		return nil
	case h.epoch != seen.epoch:
		return errRenewed
	case h.revision < seen.revision:
		return errLost
	case h.seen.Valid && h.seen.Int64 == seen.stamp:
		return nil
	case h.revision > seen.revision && seen.revision <= h.compacted:
		return errBehind // the entry may be swept: nobody can tell
	}
	return errLost
}

// begunAnew tells the errors of compare.
func begunAnew(err error) bool {
	return errors.Is(err, errLost) || errors.Is(err, errRenewed) || errors.Is(err, errBehind)
}

// session is a connection that writes.
type session struct {
	conn    *sql.Conn
	dialect *dialect
	stmts   map[string]*sql.Stmt // made as they are needed, when the dialect wants it
}

// prepared gives a statement that was prepared once for this connection.
func (s *session) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt := s.stmts[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.stmts[text] = stmt
	return stmt, nil
}

func (s *session) exec(ctx context.Context, text string, args ...any) error {
	if !s.dialect.prepares {
		_, err := s.conn.ExecContext(ctx, text, args...)
		return err
	}
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, args...)
	return err
}

func (s *session) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if !s.dialect.prepares {
		return s.conn.QueryContext(ctx, text, args...)
	}
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *session) queryRow(ctx context.Context, text string, args ...any) (*sql.Row, error) {
	if !s.dialect.prepares {
		return s.conn.QueryRowContext(ctx, text, args...), nil
	}
	stmt, err := s.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryRowContext(ctx, args...), nil
}

// lock begins a transaction and takes the head's lock. seen in the answer is of
// the entry at the revision asked.
func (s *session) lock(ctx context.Context, asked int64) (h head, err error) {
	if err := s.exec(ctx, s.dialect.begin); err != nil {
		return h, fmt.Errorf("beginning a transaction: %w", err)
	}
	row, err := s.queryRow(ctx, s.dialect.lockHead, asked)
	if err == nil {
		err = h.scan(row)
	}
	if err != nil {
		return h, fmt.Errorf("locking the head of the log: %w", err)
	}
	return h, nil
}

// wrote tells whether the entries of a transaction are in the log.
func (s *session) wrote(ctx context.Context, b *batch) (bool, error) {
	if len(b.events) == 0 {
		return false, nil // nobody can tell
	}
	rows, err := s.query(ctx, `SELECT stamp FROM entries WHERE revision = ?`, b.revision)
	if err != nil {
		return false, fmt.Errorf("looking for what was committed: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	var stamp int64
	for rows.Next() {
		if err := rows.Scan(&stamp); err != nil {
			return false, fmt.Errorf("looking for what was committed: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("looking for what was committed: %w", err)
	}
	return stamp == b.mark, nil
}

// setHead writes the row, inside a transaction that has its lock.
func (s *session) setHead(ctx context.Context, h *head) error {
	err := s.exec(ctx, `UPDATE head SET revision = ?, compacted = ?, swept = ?, epoch = ?, stamp = ? WHERE id = 1`,
		h.revision, h.compacted, h.swept, h.epoch, h.stamp)
	if err != nil {
		return fmt.Errorf("moving the head of the log: %w", err)
	}
	return nil
}

// close gives the connection back. Its statements end with it: some drivers do not
// bear that they are closed after it.
func (s *session) close() error { return s.conn.Close() }
