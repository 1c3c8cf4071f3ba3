package storage

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// lookInto opens a database for reading only until the test ends.
func lookInto(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	s, err := Start(t.Context(), Config{Endpoint: endpoint, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return client(t, s)
}

// TestAReaderSeesWhatAnotherProcessAcknowledged reads beside a process that
// writes, and after that was killed.
func TestAReaderSeesWhatAnotherProcessAcknowledged(t *testing.T) {
	endpoint := databaseIn(t.TempDir())
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEndpoint+"="+endpoint, "GOCOVERDIR="+t.TempDir(), "TMPDIR="+t.TempDir())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	var c *clientv3.Client
	var first *clientv3.GetResponse
	for range 300 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var key, what string
		var revision int64
		if _, err := fmt.Sscan(line, &key, &revision, &what); err != nil {
			t.Fatal(err)
		}
		if c == nil {
			c = lookInto(t, endpoint)
			if first, err = c.Get(t.Context(), "/k/", clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.Get(t.Context(), key)
		if err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision < revision || got.Header.Revision < revision {
			t.Fatalf("%s was acknowledged at revision %d, a reader sees %v, %v", key, revision, got, err)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	again, err := c.Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithRev(first.Header.Revision))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.Kvs, again.Kvs); diff != "" || len(first.Kvs) == 0 {
		t.Errorf("a revision reads otherwise after later writes and a kill (%d keys):\n%s", len(first.Kvs), diff)
	}
	// The reader is in nobody's way.
	if _, err := create(t.Context(), client(t, serve(t, endpoint)), "/r/after", "x"); err != nil {
		t.Error(err)
	}
	if got, err := c.Get(t.Context(), "/r/after"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("what a new process wrote: %v, %v", got, err)
	}
}

func TestAReaderIsRefusedEveryWriteAndWatch(t *testing.T) {
	endpoint := databaseIn(t.TempDir())
	writing := client(t, serve(t, endpoint))
	made, err := create(t.Context(), writing, "/r/a", "1")
	if err != nil {
		t.Fatal(err)
	}
	c := lookInto(t, endpoint)
	ctx := t.Context()
	for name, write := range map[string]func() error{
		"create":  func() error { _, err := create(ctx, c, "/r/b", "x"); return err },
		"update":  func() error { _, err := update(ctx, c, "/r/a", "2", made.Header.Revision); return err },
		"delete":  func() error { _, err := remove(ctx, c, "/r/a", made.Header.Revision); return err },
		"put":     func() error { _, err := c.Put(ctx, "/r/a", "2"); return err },
		"compact": func() error { _, err := c.Compact(ctx, made.Header.Revision); return err },
	} {
		if err := write(); err == nil || !strings.Contains(err.Error(), errReadOnly.Error()) {
			t.Errorf("%s: %v, want %q", name, err, errReadOnly)
		}
	}
	// The client tells no reason for the end of a watch; what counts is that it does not wait for ever.
	if answer, open := <-c.Watch(ctx, "/r/", clientv3.WithPrefix()); open {
		t.Errorf("a watch answers %v, want its end", answer)
	}
	if got, err := writing.Get(ctx, "/r/a"); err != nil || string(got.Kvs[0].Value) != "1" || got.Header.Revision != made.Header.Revision {
		t.Errorf("after refused writes: %v, %v", got, err)
	}
}

func TestAReaderMakesNoDatabaseAndTakesNoStrangeOne(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T, dir string)
		says    string
	}{
		"none":              {func(*testing.T, string) {}, "no such file or directory"},
		"a directory":       {func(t *testing.T, dir string) { _ = os.Mkdir(filepath.Join(dir, "state.db"), 0o700) }, "it is a directory"},
		"another program's": {func(t *testing.T, dir string) { execute(t, dir, "CREATE TABLE kine (id INTEGER)") }, "of another program"},
		"a newer layout": {func(t *testing.T, dir string) {
			damaged(t, dir, func(b []byte) []byte { return b })
			execute(t, dir, "PRAGMA user_version=9")
		}, "layout 9"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			s, err := Start(t.Context(), Config{Endpoint: databaseIn(dir), ReadOnly: true})
			if err == nil {
				shut(t, s)
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q: want one line that says %q", err, test.says)
			}
		})
	}
	t.Run("and leaves no file behind", func(t *testing.T) {
		dir := t.TempDir()
		_, err := Start(t.Context(), Config{Endpoint: databaseIn(dir), ReadOnly: true})
		if left, _ := fs.Glob(os.DirFS(dir), "*"); err == nil || len(left) != 0 {
			t.Errorf("%v left %v", err, left)
		}
	})
}
