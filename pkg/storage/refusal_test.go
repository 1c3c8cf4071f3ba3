package storage

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAStorageThatCannotBeServedIsRefusedInOneLine(t *testing.T) {
	file := func(t *testing.T, dir string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "state.db"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		prepare  func(t *testing.T, dir string)
		endpoint string // DIR stands for the directory; "" = state.db in it
		says     string
	}{
		"no endpoint":             {endpoint: " ", says: "empty"},
		"another scheme":          {endpoint: "postgres://DIR/x", says: `scheme "postgres"`},
		"a relative path":         {endpoint: "sqlite://state.db", says: "no absolute file path"},
		"no file":                 {endpoint: "sqlite://DIR/", says: "no absolute file path"},
		"an unknown parameter":    {endpoint: "sqlite://DIR/state.db?synchronus=full", says: `unknown parameter "synchronus"`},
		"an unknown value":        {endpoint: "sqlite://DIR/state.db?synchronous=fast", says: `synchronous is "fast"`},
		"a missing directory":     {endpoint: "sqlite://DIR/none/state.db", says: "no such file or directory"},
		"a file as directory":     {prepare: func(t *testing.T, dir string) { file(t, dir, nil) }, endpoint: "sqlite://DIR/state.db/state.db", says: "not a directory"},
		"an unwritable directory": {endpoint: "sqlite:///proc/self/state.db", says: "opening database /proc/self/state.db"},
		"a directory in place of the file": {
			prepare: func(t *testing.T, dir string) {
				if err := os.Mkdir(filepath.Join(dir, "state.db"), 0o700); err != nil {
					t.Fatal(err)
				}
			},
			says: "it is a directory",
		},
		"something else in the file": {prepare: func(t *testing.T, dir string) { file(t, dir, []byte("apiVersion: v1\nkind: Secret\n")) }, says: "corrupt, or no SQLite database"},
		"a torn header":              {prepare: func(t *testing.T, dir string) { file(t, dir, []byte("SQLite")) }, says: "corrupt, or no SQLite database"},
		"a torn file":                {prepare: func(t *testing.T, dir string) { damaged(t, dir, func(b []byte) []byte { return b[:len(b)/2] }) }, says: "corrupt"},
		"damaged pages": {
			prepare: func(t *testing.T, dir string) {
				damaged(t, dir, func(b []byte) []byte {
					for n := 3 * 4096; n < len(b); n++ {
						b[n] ^= 0x5a
					}
					return b
				})
			},
			says: "corrupt",
		},
		"another program's database": {prepare: func(t *testing.T, dir string) { execute(t, dir, "CREATE TABLE kine (id INTEGER)") }, says: "another program"},
		"a newer layout": {
			prepare: func(t *testing.T, dir string) {
				damaged(t, dir, func(b []byte) []byte { return b })
				execute(t, dir, "PRAGMA user_version=9")
			},
			says: "layout 9",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.prepare != nil {
				test.prepare(t, dir)
			}
			endpoint := strings.TrimSpace(strings.ReplaceAll(test.endpoint, "DIR", dir))
			if test.endpoint == "" {
				endpoint = databaseIn(dir)
			}
			s, err := Start(t.Context(), Config{Endpoint: endpoint})
			if err == nil {
				shut(t, s)
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q: want one line that says %q", err, test.says)
			}
			t.Log(err)
		})
	}
}

// damaged leaves a database of some size, after a change to its bytes.
func damaged(t *testing.T, dir string, change func([]byte) []byte) {
	t.Helper()
	s, err := Start(t.Context(), Config{Endpoint: databaseIn(dir)})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, _, err := s.backend.Put(t.Context(), "/r/a", make([]byte, 10_000), 0); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, s)
	path := filepath.Join(dir, "state.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASecondServerOnTheSameDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, databaseIn(dir))
	if second, err := Start(t.Context(), Config{Endpoint: databaseIn(dir)}); !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second server: %v, %v", second, err)
	}
	shut(t, first)
	second, err := Start(t.Context(), Config{Endpoint: databaseIn(dir)})
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	shut(t, second)
}

func TestALongSocketDirectoryIsNoObstacle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Config{Endpoint: databaseIn(dir), SocketDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := create(t.Context(), client(t, s), "/r/a", ""); err != nil {
		t.Error(err)
	}
	shut(t, s)
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory %s is left: %v", s.dir, err)
	}
}

func TestOnlyTheOwnerMayReadTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, databaseIn(dir))
	if _, err := create(t.Context(), client(t, s), "/r/a", "secret"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state.db", "state.db-wal", "state.db-shm", "state.db.lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(s.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, %v", info, err)
	}
}

func TestTheServerOutlivesTheContextOfItsStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Config{Endpoint: databaseIn(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := create(t.Context(), client(t, s), "/r/a", ""); err != nil {
		t.Error(err)
	}
	shut(t, s)
}

func TestCloseEndsWatchesAndRefusesWrites(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	c := client(t, s)
	events := c.Watch(t.Context(), "/r/")
	if _, err := create(t.Context(), c, "/r/a", ""); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	shut(t, s)
	if took := time.Since(began); took > time.Second {
		t.Errorf("Close took %s with an open watch", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, err := create(ctx, c, "/r/b", ""); err == nil {
		t.Errorf("a write after Close is answered %v", got)
	}
	_ = c.Close()
	for range events {
	}
}

func TestCloseIsBoundedByItsContext(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	hold, held := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.backend.writer.do(t.Context(), "", 0, func(*batch) error { close(held); <-hold; return nil })
	}()
	<-held
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while a write hangs: %v", err)
	}
	close(hold)
	shut(t, s) // a later Close waits for the same end
}
