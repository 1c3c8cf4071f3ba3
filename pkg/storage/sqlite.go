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
	schemaVersion = 2

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

	// quiet is how long nothing is written before the log is copied into the
	// database and emptied.
	quiet = time.Second

	// walLimit is the size of the log at which a write waits for the readers that
	// keep it from being used from the start again; it is looked at every so many
	// transactions.
	walLimit = 64 << 20
	walEvery = 64
)

const sqliteSchema = `
CREATE TABLE entries (
	revision        INTEGER PRIMARY KEY,
	name            TEXT    NOT NULL,
	deleted         INTEGER NOT NULL,
	create_revision INTEGER NOT NULL,
	previous        INTEGER NOT NULL,
	version         INTEGER NOT NULL,
	lease           INTEGER NOT NULL,
	expires         INTEGER NOT NULL,
	value           BLOB,
	stamp           INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX entries_by_key ON entries (name, revision, deleted);
CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires > 0;
` + sqliteHead + `INSERT INTO head VALUES (1, 0, 0, 0, %d, 0);
`

const sqliteHead = `CREATE TABLE head (
	id        INTEGER PRIMARY KEY,
	revision  INTEGER NOT NULL,
	compacted INTEGER NOT NULL,
	swept     INTEGER NOT NULL,
	epoch     INTEGER NOT NULL,
	stamp     INTEGER NOT NULL
) STRICT;
`

// sqliteFromLayout1 adds what the first layout did not have: an epoch, and stamps.
const sqliteFromLayout1 = `
ALTER TABLE entries RENAME COLUMN key TO name;
ALTER TABLE entries ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0;
` + sqliteHead + `INSERT INTO head SELECT 1, (SELECT COALESCE(MAX(revision), 0) FROM entries), (SELECT value FROM facts WHERE name = 'compacted'),
	(SELECT value FROM facts WHERE name = 'swept'), %d, 0;
DROP TABLE facts;
`

// opener gives a connector for a driver's data source name. Tests put a faulty
// disk between this package and SQLite here.
type opener func(dsn string) (driver.Connector, error)

// openSQLiteFile opens or creates the file and refuses one that cannot be
// trusted. ctx must carry no deadline that is shorter than the database's life.
func openSQLiteFile(ctx context.Context, source dataSource, open opener) (_ *database, err error) {
	d := &database{dialect: sqliteDialect, where: source.path, readOnly: source.readOnly, wal: source.path + "-wal"}
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening database %s: %w", source.path, err)
			_ = d.close() // the first error tells more
		}
	}()
	if err := checkFile(source.path, source.readOnly); err != nil {
		return nil, err
	}
	if source.readOnly {
		return d, d.connectBeside(ctx, source, open)
	}
	if d.lock, err = lockFile(source.path); err != nil {
		return nil, err
	}
	if err := d.connectFile(ctx, source, open); err != nil {
		return nil, err
	}
	if err := d.prepareFile(ctx); err != nil {
		return nil, err
	}
	if err := d.checkIntegrity(ctx); err != nil {
		return nil, err
	}
	return d, syncDirectory(filepath.Dir(source.path))
}

// connectBeside opens a database for reading that another process may be using.
func (d *database) connectBeside(ctx context.Context, source dataSource, open opener) error {
	reader, err := open(source.dsn(false))
	if err != nil {
		return err
	}
	d.read = sql.OpenDB(reader)
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	version, err := layout(d.read.QueryRowContext(ctx, layoutSQL))
	if err != nil {
		return err
	}
	if version != schemaVersion {
		return fmt.Errorf("the file has layout %d, this program reads layout %d: start a plane on it once", version, schemaVersion)
	}
	return nil
}

// checkFile tells what is plainly wrong in plainer words than SQLite would.
func checkFile(path string, readOnly bool) error {
	if dir, err := os.Stat(filepath.Dir(path)); err != nil {
		return err
	} else if !dir.IsDir() {
		return fmt.Errorf("%s is not a directory", filepath.Dir(path))
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) && !readOnly {
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
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	file, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read from
	header := make([]byte, 16)
	switch _, err := io.ReadFull(file, header); {
	case errors.Is(err, io.EOF) && readOnly:
		return errors.New("the file is empty")
	case errors.Is(err, io.EOF):
		return nil // empty: a new database
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case string(header) != "SQLite format 3\x00":
		return errors.New("the file is corrupt, or no SQLite database")
	}
	return nil
}

// connectFile opens the writing connection and the pool of readers.
func (d *database) connectFile(ctx context.Context, source dataSource, open opener) error {
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
	conn, err := d.pool.Conn(ctx)
	if err != nil {
		return err
	}
	d.write = &session{conn: conn, dialect: d.dialect, stmts: map[string]*sql.Stmt{}}
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
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

const layoutSQL = `SELECT a.application_id, v.user_version, (SELECT COUNT(*) FROM sqlite_schema)
	FROM pragma_application_id AS a, pragma_user_version AS v`

// layout is the version of the tables in a file, 0 = there are none.
func layout(row *sql.Row) (int, error) {
	var application, version, tables int
	if err := row.Scan(&application, &version, &tables); err != nil {
		return 0, fmt.Errorf("reading schema: %w", err)
	}
	switch {
	case tables == 0:
		return 0, nil
	case application != applicationID:
		return 0, errors.New("the file is a SQLite database of another program")
	}
	return version, nil
}

// prepareFile makes the tables in a new file, brings older ones up to date, and
// refuses a strange or newer one. Each step is one transaction, so that a kill
// leaves what was before or what is after.
func (d *database) prepareFile(ctx context.Context) error {
	version, err := layout(d.write.conn.QueryRowContext(ctx, layoutSQL))
	if err != nil {
		return err
	}
	var script string
	switch version {
	case 0:
		script = fmt.Sprintf(sqliteSchema, newStamp()) + fmt.Sprintf("PRAGMA application_id=%d;", applicationID)
	case 1:
		script = fmt.Sprintf(sqliteFromLayout1, newStamp())
	case schemaVersion:
		return nil
	default:
		return fmt.Errorf("the file has layout %d, this program knows layout %d", version, schemaVersion)
	}
	script = fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version=%d; COMMIT", script, schemaVersion)
	if _, err := d.write.conn.ExecContext(ctx, script); err != nil {
		return fmt.Errorf("making tables: %w", err)
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

// emptyLog copies the write-ahead log into the database and empties it. It
// reports whether there is nothing left to copy: a reader that still looks at the
// log is in the way.
func (d *database) emptyLog(ctx context.Context) (bool, error) {
	if d.wal == "" || !d.dirty {
		return true, nil
	}
	var busy, pages, moved int
	err := d.write.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err == nil && busy == 0 {
		d.dirty = false
	}
	return !d.dirty, err
}

// boundLog keeps readers that overlap each other without end from making the
// log grow without end.
func (d *database) boundLog(ctx context.Context) (bool, error) {
	if d.commits++; d.wal == "" || d.commits%walEvery != 0 {
		return true, nil
	}
	if info, err := os.Stat(d.wal); err == nil && info.Size() > walLimit {
		return d.emptyLog(ctx)
	}
	return true, nil
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

// lethalSQLite tells whether, after this error, the file or the disk under it can no
// longer be believed. After a failed fsync in particular the kernel may drop
// the pages and report success the next time.
func lethalSQLite(err error) bool {
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
