package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// applicationID marks the file as ours ("CFed"), schemaVersion the layout.
	applicationID = 0x43466564
	schemaVersion = 1

	// walPages is where a commit also copies the log into the database, walKeep
	// what stays of the log file once it is used from the start again.
	walPages = 1000
	walKeep  = 8 << 20

	// readers bounds the connections that read. Each has a page cache of its
	// own; more of them than this only wait for the processors.
	readers = 8

	// checkTime bounds the integrity check at start: a file of a few hundred
	// megabytes is checked whole, a larger one in part, and start stays quick.
	checkTime = 500 * time.Millisecond
)

const schema = `
CREATE TABLE entries (
	revision        INTEGER PRIMARY KEY,
	key             TEXT    NOT NULL,
	deleted         INTEGER NOT NULL,
	create_revision INTEGER NOT NULL,
	previous        INTEGER NOT NULL,
	version         INTEGER NOT NULL,
	lease           INTEGER NOT NULL,
	expires         INTEGER NOT NULL,
	value           BLOB
) STRICT;
CREATE UNIQUE INDEX entries_by_key ON entries (key, revision, deleted);
CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires > 0;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO facts VALUES ('compacted', 0), ('swept', 0);
`

// opener gives a connector for a driver's data source name. Tests put a faulty
// disk between this package and SQLite here.
type opener func(dsn string) (driver.Connector, error)

// database is the open file: one connection that writes, a pool that reads.
type database struct {
	path  string
	lock  *fileLock
	pool  *sql.DB // of the one writing connection
	write *sql.Conn
	read  *sql.DB
}

// openDatabase opens or creates the file and refuses one that cannot be
// trusted. ctx must carry no deadline that is shorter than the database's life.
func openDatabase(ctx context.Context, source dataSource, open opener) (_ *database, err error) {
	if err := checkFile(source.path); err != nil {
		return nil, fmt.Errorf("opening database %s: %w", source.path, err)
	}
	d := &database{path: source.path}
	if d.lock, err = lockFile(source.path); err != nil {
		return nil, fmt.Errorf("opening database %s: %w", source.path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening database %s: %w", source.path, err)
			_ = d.close() // the first error tells more
		}
	}()
	if err := d.connect(ctx, source, open); err != nil {
		return nil, err
	}
	if err := d.prepareSchema(ctx); err != nil {
		return nil, err
	}
	if err := d.checkIntegrity(ctx); err != nil {
		return nil, err
	}
	return d, syncDirectory(filepath.Dir(source.path))
}

// checkFile tells what is plainly wrong in plainer words than SQLite would.
func checkFile(path string) error {
	if dir, err := os.Stat(filepath.Dir(path)); err != nil {
		return err
	} else if !dir.IsDir() {
		return fmt.Errorf("%s is not a directory", filepath.Dir(path))
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("it is a directory")
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is no regular file: mode %s", info.Mode())
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read from
	header := make([]byte, 16)
	switch _, err := io.ReadFull(file, header); {
	case errors.Is(err, io.EOF):
		return nil // empty: a new database
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case string(header) != "SQLite format 3\x00":
		return errors.New("the file is corrupt, or no SQLite database")
	}
	return nil
}

func (d *database) connect(ctx context.Context, source dataSource, open opener) error {
	// SQLite would create the file readable for all; it holds the plane's secrets.
	file, err := os.OpenFile(source.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	writer, err := open(source.dsn(true))
	if err != nil {
		return err
	}
	reader, err := open(source.dsn(false))
	if err != nil {
		return err
	}
	d.pool = sql.OpenDB(writer)
	d.pool.SetMaxOpenConns(1)
	if d.write, err = d.pool.Conn(ctx); err != nil {
		return err
	}
	var mode string
	if err := d.write.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return fmt.Errorf("switching to a write-ahead log: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("the file system does not admit a write-ahead log: journal mode stays %q", mode)
	}
	d.read = sql.OpenDB(reader)
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	return nil
}

// prepareSchema makes the tables in a new file and refuses a strange or newer one.
func (d *database) prepareSchema(ctx context.Context) error {
	var application, version, tables int
	row := d.write.QueryRowContext(ctx, `SELECT a.application_id, v.user_version, (SELECT COUNT(*) FROM sqlite_schema)
		FROM pragma_application_id AS a, pragma_user_version AS v`)
	if err := row.Scan(&application, &version, &tables); err != nil {
		return fmt.Errorf("reading schema: %w", err)
	}
	switch {
	case tables == 0:
		// One transaction, so that a kill leaves either no table or all of them.
		script := fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", schema, applicationID, schemaVersion)
		if _, err := d.write.ExecContext(ctx, script); err != nil {
			return fmt.Errorf("creating tables: %w", err)
		}
	case application != applicationID:
		return errors.New("the file is a SQLite database of another program")
	case version != schemaVersion:
		return fmt.Errorf("the file has layout %d, this program knows layout %d", version, schemaVersion)
	}
	return nil
}

// checkIntegrity looks for damage for a bounded time.
func (d *database) checkIntegrity(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var verdict string
	err := d.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // a large file; what was read of it is sound
	case err != nil:
		return fmt.Errorf("checking integrity: %w", err)
	case verdict != "ok":
		return fmt.Errorf("the file is corrupt: %s", strings.ReplaceAll(verdict, "\n", " "))
	}
	return nil
}

// close gives up whatever is open, in the order that leaves no log file behind:
// SQLite removes it when its last connection closes.
func (d *database) close() error {
	var errs []error
	if d.read != nil {
		errs = append(errs, d.read.Close())
	}
	if d.write != nil {
		if err := d.write.Close(); !errors.Is(err, sql.ErrConnDone) { // lost: then Server.Err has told of it
			errs = append(errs, err)
		}
	}
	if d.pool != nil {
		errs = append(errs, d.pool.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.unlock())
	}
	return errors.Join(errs...)
}

// syncDirectory makes the directory entry of a new file durable.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// openSQLite is the opener outside tests.
func openSQLite(dsn string) (driver.Connector, error) { return sqlite.NewConnector(dsn) }

// lethal tells whether, after this error, the file or the disk under it can no
// longer be believed. After a failed fsync in particular the kernel may drop
// the pages and report success the next time.
func lethal(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}
