package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// errReadOnly is the answer to a write where only reading was asked for.
var errReadOnly = errors.New("the storage was opened for reading only")

// database is an open database: one connection that writes, a pool that reads.
// Only the writer's goroutine uses the former.
type database struct {
	dialect  *dialect
	where    string // for messages: without a password
	readOnly bool
	pool     *sql.DB // of the one writing connection
	write    *session
	born     time.Time // of write, in a shared database
	read     *sql.DB
	// astray says that the server behind the reading connections may be another one than the one that takes writes.
	astray bool

	// Of a file.
	lock    *fileLock
	wal     string // the log's path; "" = there is none to look after
	dirty   bool   // the log holds pages that the database does not
	commits int
}

// openDatabase opens what an endpoint says.
func openDatabase(ctx context.Context, source dataSource, open opener) (*database, error) {
	if source.server != nil {
		return openMySQL(ctx, source)
	}
	return openSQLiteFile(ctx, source, open)
}

// session is the writing connection, a new one when the last was lost.
func (d *database) session(ctx context.Context) (*session, error) {
	if d.write != nil && (!d.dialect.shared || time.Since(d.born) < connectionAge) {
		return d.write, nil
	}
	d.drop() // no transaction is open: whoever asks is about to begin one
	conn, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	d.write, d.born = &session{conn: conn, dialect: d.dialect}, time.Now()
	return d.write, nil
}

// moved has no reading connection outlive its use: the server behind them takes no writes any more, after a switch-over
// perhaps, and what it shows may be old. settled undoes that once something was written again.
func (d *database) moved() {
	if d.read != nil {
		d.read.SetMaxIdleConns(0)
		d.astray = true
	}
}

func (d *database) settled() {
	if d.astray {
		d.read.SetMaxIdleConns(mysqlReaders)
		d.astray = false
	}
}

// drop gives the writing connection up. The server ends the transaction that is
// open on it, unless the commit has reached it already.
func (d *database) drop() {
	if d.write == nil {
		return
	}
	_ = d.write.conn.Raw(func(any) error { return driver.ErrBadConn }) // keeps it from the pool
	_ = d.write.close()
	d.write = nil
}

// lost tells whether the writing connection cannot be gone on with after an error.
func (d *database) lost(err error) bool { return d.dialect.shared && lostMySQL(err) }

// lethal tells whether nothing may be written any more after an error.
func (d *database) lethal(err error) bool { return !d.dialect.shared && lethalSQLite(err) }

// close gives up whatever is open, in the order that leaves no log file behind:
// SQLite removes it when its last connection closes.
func (d *database) close() error {
	var errs []error
	if d.read != nil {
		errs = append(errs, d.read.Close())
	}
	if d.write != nil {
		if err := d.write.close(); !errors.Is(err, sql.ErrConnDone) && !(d.dialect.shared && errors.Is(err, driver.ErrBadConn)) {
			errs = append(errs, err) // lost: then Server.Err has told of it
		}
	}
	if d.pool != nil {
		errs = append(errs, d.pool.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.unlock())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing database %s: %w", d.where, err)
	}
	return nil
}
