package storage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// faults is a bad disk between the storage and SQLite.
type faults struct {
	rows   atomic.Pointer[func(query string, n int) error] // after n rows of an answer
	before atomic.Pointer[func(query string) error]        // instead of a statement
}

var errDisk = errors.New("injected: the disk is bad")

func (f *faults) open(dsn string) (driver.Connector, error) {
	sound, err := openSQLite(dsn)
	return faultyConnector{sound, f}, err
}

type faultyConnector struct {
	driver.Connector
	faults *faults
}

func (c faultyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return faultyConn{conn.(soundConn), c.faults}, nil
}

type soundConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
}

type faultyConn struct {
	soundConn
	faults *faults
}

func (c faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.soundConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return faultyStmt{stmt.(soundStmt), query, c.faults}, nil
}

type soundStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type faultyStmt struct {
	soundStmt
	query  string
	faults *faults
}

func (s faultyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if fault := s.faults.before.Load(); fault != nil {
		if err := (*fault)(s.query); err != nil {
			return nil, err
		}
	}
	return s.soundStmt.ExecContext(ctx, args)
}

func (s faultyStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.soundStmt.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	return &faultyRows{Rows: rows, query: s.query, faults: s.faults}, nil
}

type faultyRows struct {
	driver.Rows
	query  string
	n      int
	faults *faults
}

func (r *faultyRows) Next(to []driver.Value) error {
	if fault := r.faults.rows.Load(); fault != nil {
		if err := (*fault)(r.query, r.n); err != nil {
			return err
		}
	}
	r.n++
	return r.Rows.Next(to)
}

// serveFaulty starts a storage on a disk that can be made bad.
func serveFaulty(t *testing.T, endpoint string) (*Server, *faults) {
	t.Helper()
	f := &faults{}
	scheme := fmt.Sprintf("faulty-%p", f)
	drivers.Register(scheme, constructor(f.open))
	s, err := start(t.Context(), Config{Endpoint: endpoint}, scheme)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s, f
}

func TestAReadErrorIsNeverAShortAnswer(t *testing.T) {
	const objects = 40
	s, f := serveFaulty(t, databaseIn(t.TempDir()))
	c := client(t, s)
	for n := range objects {
		if _, err := create(t.Context(), c, fmt.Sprintf("/r/%02d", n), "v"); err != nil {
			t.Fatal(err)
		}
	}
	for name, read := range map[string]func(context.Context) (int, error){
		"list": func(ctx context.Context) (int, error) {
			got, err := c.Get(ctx, "/r/", clientv3.WithPrefix())
			return count(got), err
		},
		"list of a page": func(ctx context.Context) (int, error) {
			got, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithLimit(objects/2))
			return count(got) + objects/2, err
		},
		"list of keys": func(ctx context.Context) (int, error) {
			got, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
			return count(got), err
		},
		"count": func(ctx context.Context) (int, error) {
			got, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil {
				return 0, err
			}
			return int(got.Count), nil
		},
		"get": func(ctx context.Context) (int, error) {
			got, err := c.Get(ctx, "/r/00")
			return count(got) * objects, err
		},
		"watch from the past": func(ctx context.Context) (int, error) {
			n := 0
			for answer := range c.Watch(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithRev(2)) {
				if n += len(answer.Events); n == objects {
					return n, nil
				}
			}
			if n > 0 {
				return n, nil // it told some, and ended
			}
			return 0, errors.New("the watch ended")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if n, err := read(ctx); n != objects || err != nil {
				t.Fatalf("with a good disk: %d, %v", n, err)
			}
			for cut := range objects + 1 { // the last cut is where the end would be
				hit := false
				fault := func(query string, n int) error {
					if n != cut || !strings.Contains(query, "entries") {
						return nil
					}
					hit = true
					return errDisk
				}
				f.rows.Store(&fault)
				n, err := read(ctx)
				f.rows.Store(nil)
				if hit && err == nil {
					t.Errorf("cut after %d rows: %d without an error", cut, n)
				}
				if !hit && (err != nil || n != objects) {
					t.Errorf("no cut: %d, %v", n, err)
				}
			}
			if n, err := read(ctx); n != objects || err != nil {
				t.Errorf("with a good disk again: %d, %v", n, err)
			}
		})
	}
}

func count(got *clientv3.GetResponse) int {
	if got == nil {
		return 0
	}
	return len(got.Kvs)
}

// A failed write is an error, to the client that asked for it and to no other,
// it leaves no trace, and the next one succeeds.
func TestAFailedWriteIsAnErrorAndLeavesNoTrace(t *testing.T) {
	exec := func(t *testing.T, s *Server, statement string) {
		t.Helper()
		if _, err := s.backend.data.write.conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, disk := range map[string]struct{ breaks, mends, says string }{
		"read-only": {"PRAGMA query_only=1", "PRAGMA query_only=0", "readonly"},
		"a row that is refused": {
			"CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN NEW.name LIKE '/bad/%' BEGIN SELECT RAISE(ABORT, 'refused by the test'); END",
			"DROP TRIGGER refuse", "refused by the test",
		},
		"a row that rolls the transaction back": {
			"CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN NEW.name LIKE '/bad/%' BEGIN SELECT RAISE(ROLLBACK, 'refused by the test'); END",
			"DROP TRIGGER refuse", "refused by the test",
		},
		"disk full": {"PRAGMA max_page_count=1", "PRAGMA max_page_count=1000000", "full"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, databaseIn(t.TempDir()))
			c := client(t, s)
			ctx := t.Context()
			big := strings.Repeat("v", 64<<10) // more than the pages that are there can hold
			made, err := create(ctx, c, "/bad/there", big)
			if err != nil {
				t.Fatal(err)
			}
			told := c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(made.Header.Revision+1))
			exec(t, s, disk.breaks)
			for what, write := range map[string]func() (any, error){
				"create": func() (any, error) { return create(ctx, c, "/bad/new", big) },
				"update": func() (any, error) { return update(ctx, c, "/bad/there", big+"2", made.Header.Revision) },
				"put":    func() (any, error) { return c.Put(ctx, "/bad/put", big) },
			} {
				began := time.Now()
				if got, err := write(); err == nil || !strings.Contains(err.Error(), disk.says) {
					t.Errorf("%s is answered %v, error %v: want one that says %q", what, got, err, disk.says)
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("%s took %s to fail", what, took)
				}
			}
			if name != "disk full" { // a deletion needs no room
				if got, err := remove(ctx, c, "/bad/there", made.Header.Revision); err == nil {
					t.Errorf("delete is answered %v", got)
				}
			}
			if got, err := c.Get(ctx, "/bad/", clientv3.WithPrefix()); err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != made.Header.Revision || string(got.Kvs[0].Value) != big {
				t.Errorf("after the failures: %v", err)
			}
			exec(t, s, disk.mends)
			next, err := create(ctx, c, "/bad/new", "v")
			if err != nil || !next.Succeeded || next.Header.Revision != made.Header.Revision+1 {
				t.Errorf("after mending: %v, %v", next, err)
			}
			if answer := <-told; len(answer.Events) != 1 || string(answer.Events[0].Kv.Key) != "/bad/new" {
				t.Errorf("the watch was told of what did not happen: %v", answer.Events)
			}
			if s.Err() != nil {
				t.Errorf("the storage gave up: %v", s.Err())
			}
		})
	}
}

// Writes share transactions; their failures must not be shared.
func TestOneBadWriteDoesNotFailItsNeighbours(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	w := s.backend.writer
	// Hold the writer until all are waiting, so that they share a transaction.
	hold, held := make(chan struct{}), make(chan struct{})
	go func() { _ = w.do(t.Context(), "", 0, func(*batch) error { close(held); <-hold; return nil }) }()
	<-held
	type result struct {
		n   int
		err error
	}
	results := make(chan result, 10)
	shared := make(map[*batch]int)
	for n := range cap(results) {
		go func() {
			results <- result{n, w.do(t.Context(), "", 0, func(b *batch) error {
				shared[b]++
				if n == 5 {
					return errDisk
				}
				b.put(fmt.Sprint("/r/", n), nil, 0, nil)
				return nil
			})}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	close(hold)
	for range cap(results) {
		if r := <-results; (r.err != nil) != (r.n == 5) {
			t.Errorf("write %d: %v", r.n, r.err)
		}
	}
	if rev, kvs, err := s.backend.List(t.Context(), "/r/", "/r0", 0, 0, false); err != nil || len(kvs) != 9 || rev != 10 {
		t.Errorf("%d keys at revision %d, %v", len(kvs), rev, err)
	}
	most := 0
	for _, n := range shared {
		most = max(most, n)
	}
	if most < 2 {
		t.Error("no transaction was shared: the test proves nothing")
	}
}

// Whether a commit that failed is on the disk nobody knows; the client is told
// of an error, never of success.
func TestAFailedCommitIsAnErrorToAllThatShareIt(t *testing.T) {
	s, f := serveFaulty(t, databaseIn(t.TempDir()))
	c := client(t, s)
	fault := func(query string) error {
		if query == "COMMIT" {
			return errDisk
		}
		return nil
	}
	f.before.Store(&fault)
	if got, err := create(t.Context(), c, "/r/a", "v"); err == nil {
		t.Errorf("create is answered %v", got)
	}
	f.before.Store(nil)
	if got, err := create(t.Context(), c, "/r/a", "v"); err != nil || !got.Succeeded || got.Header.Revision != 2 {
		t.Errorf("after the failure: %v, %v", got, err)
	}
}

func TestADiskThatCannotBeTrustedStopsWritingAndSaysSo(t *testing.T) {
	s, f := serveFaulty(t, databaseIn(t.TempDir()))
	c := client(t, s)
	if _, err := create(t.Context(), c, "/r/a", "v"); err != nil {
		t.Fatal(err)
	}
	fault := func(query string) error {
		if query == "COMMIT" {
			return driver.ErrBadConn
		}
		return nil
	}
	f.before.Store(&fault)
	if got, err := create(t.Context(), c, "/r/b", "v"); err == nil {
		t.Errorf("create is answered %v", got)
	}
	f.before.Store(nil)
	select {
	case <-s.Done():
	case <-time.After(time.Second):
		t.Fatal("Done is not closed")
	}
	if s.Err() == nil {
		t.Error("Err says nothing")
	}
	// The kernel may forget what it could not write and then report success, so
	// no later success is believed.
	if got, err := create(t.Context(), c, "/r/c", "v"); err == nil || !strings.Contains(err.Error(), "restart needed") {
		t.Errorf("create afterwards is answered %v, %v", got, err)
	}
	if got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix()); err != nil || len(got.Kvs) != 1 {
		t.Errorf("reads afterwards: %v, %v", got, err)
	}
}
