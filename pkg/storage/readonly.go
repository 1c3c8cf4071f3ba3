package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"

	"github.com/k3s-io/kine/pkg/drivers"
	kine "github.com/k3s-io/kine/pkg/server"
)

// readOnlyScheme is the driver that only reads.
const readOnlyScheme = Scheme + "-readonly"

// readOnlyPatience is how long a reader waits for what a plane does seldom and
// for moments only: to recover its log after a crash, or to start it anew.
const readOnlyPatience = 5000

// ErrReadOnly answers a write, or a watch, on a storage that was opened for
// reading only.
var ErrReadOnly = errors.New("the database was opened for reading only")

func init() { drivers.Register(readOnlyScheme, readOnlyConstructor(openSQLite)) }

// readOnlyConstructor opens a database beside the plane that may be running on
// it: the lock is not taken, and nothing is written, expired or swept. Each
// answer is one snapshot of what the other process has committed. There are no
// watches: nobody would tell of what the other process writes.
func readOnlyConstructor(open opener) drivers.Constructor {
	return func(ctx context.Context, _ *sync.WaitGroup, cfg *drivers.Config) (bool, kine.Backend, error) {
		source, err := parseEndpoint(cfg.DataSourceName)
		if err != nil {
			return false, nil, err
		}
		ctx = context.WithoutCancel(ctx)
		data, err := openToRead(ctx, source, open)
		if err != nil {
			return false, nil, fmt.Errorf("opening database %s for reading: %w", source.path, err)
		}
		b := &backend{data: data, readOnly: true, hub: newHub(0)}
		b.hub.close(ErrReadOnly)
		b.writer = &writer{refuses: ErrReadOnly, hub: b.hub, stop: make(chan struct{}), stopped: make(chan struct{}), dead: make(chan struct{})}
		if b.reader, err = newReader(ctx, data.read); err != nil {
			return false, nil, fmt.Errorf("opening database %s for reading: %w", source.path, errors.Join(err, data.close()))
		}
		return false, b, nil
	}
}

// openToRead opens a database that must be there. The file itself is left to
// SQLite alone: to open and close it here would drop the locks that SQLite
// holds on it for others in this process.
func openToRead(ctx context.Context, source dataSource, open opener) (*database, error) {
	info, err := os.Stat(source.path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is no regular file: mode %s", info.Mode())
	}
	connector, err := open(source.readOnlyDSN())
	if err != nil {
		return nil, err
	}
	d := &database{path: source.path, read: sql.OpenDB(connector)}
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	if err := d.checkSchema(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *database) checkSchema(ctx context.Context) error {
	var application, version int
	row := d.read.QueryRowContext(ctx, "SELECT a.application_id, v.user_version FROM pragma_application_id AS a, pragma_user_version AS v")
	if err := row.Scan(&application, &version); err != nil {
		return fmt.Errorf("reading schema: %w", err)
	}
	if application != applicationID {
		return errors.New("the file is no database of a plane")
	}
	if version != schemaVersion {
		return fmt.Errorf("the file has layout %d, this program knows layout %d", version, schemaVersion)
	}
	return nil
}

// readOnlyDSN is the data source of a process that has no business writing.
func (s dataSource) readOnlyDSN() string {
	q := url.Values{}
	q.Add("mode", "ro")
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", readOnlyPatience))
	q.Add("_pragma", "query_only(1)")
	return (&url.URL{Scheme: "file", Path: s.path, RawQuery: q.Encode()}).String()
}
