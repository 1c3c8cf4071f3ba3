package storage

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	harness "github.com/cellfed/cellfed/test/harness/database"
)

// kills is how often the durability test kills: go test -run Kill -args -kills=1000
var kills = flag.Int("kills", 20, "rounds of the kill test")

// childEndpoint makes the test binary the process that is killed.
const childEndpoint = "CELLFED_STORAGE_TEST_CHILD"

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(childEndpoint); endpoint != "" {
		if err := writeUntilKilled(endpoint); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(harness.Main(m))
}

// writeUntilKilled writes from several clients and says on standard output what
// was acknowledged, one line each, not before the acknowledgement.
func writeUntilKilled(endpoint string) error {
	ctx := context.Background() // a process of its own: this is its top
	s, err := Start(ctx, Config{Endpoint: endpoint})
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	failed := make(chan error, 16)
	for w := range 16 {
		c, err := newClient(s)
		if err != nil {
			return err
		}
		wait.Go(func() {
			prefix := fmt.Sprintf("/k/%d/%d/", os.Getpid(), w)
			for n := 0; ; n++ {
				key := fmt.Sprint(prefix, n)
				made, err := create(ctx, c, key, strings.Repeat("v", rand.IntN(3000))+"-created")
				if err != nil {
					failed <- err
					return
				}
				fmt.Printf("%s %d created\n", key, made.Header.Revision)
				if n%3 != 0 {
					continue
				}
				changed, err := update(ctx, c, key, "updated", made.Header.Revision)
				if err != nil {
					failed <- err
					return
				}
				fmt.Printf("%s %d updated\n", key, changed.Header.Revision)
			}
		})
	}
	return <-failed
}

// acknowledged is the last write to a key that a client was told of.
type acknowledged struct {
	revision int64
	value    string
}

// killed runs the writing process for a while, kills it, and reads what it said.
func killed(t *testing.T, endpoint string, acks map[string]acknowledged) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	// What a killed process leaves goes with the test: TMPDIR is where its socket is.
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
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // what is torn was not said
		}
		if n == 0 {
			time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { _ = child.Process.Kill() })
		}
		var key string
		var a acknowledged
		if _, err := fmt.Sscan(line, &key, &a.revision, &a.value); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		acks[key] = a
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	onSQL(t, func(t *testing.T, endpoint string) {
		acks := map[string]acknowledged{}
		rounds := 0
		// A busy machine says less between two kills: then there are more of them.
		for ; rounds < *kills || len(acks) < 10**kills && rounds < 5**kills; rounds++ {
			killed(t, endpoint, acks)
			verify(t, endpoint, acks)
			if t.Failed() {
				return
			}
		}
		t.Logf("%d acknowledged keys after %d kills", len(acks), rounds)
		if len(acks) < 10**kills {
			t.Errorf("only %d keys were acknowledged: the test proves little", len(acks))
		}
	})
}

// verify looks for every acknowledged write, and for holes in the revisions.
func verify(t *testing.T, endpoint string, acks map[string]acknowledged) {
	t.Helper()
	s, err := Start(t.Context(), Config{Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	current, kvs, err := s.backend.List(t.Context(), "/k/", "/k0", 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]acknowledged{}
	for _, kv := range kvs {
		found[kv.Key] = acknowledged{kv.ModRevision, string(kv.Value)}
	}
	for key, want := range acks {
		got, ok := found[key]
		switch {
		case !ok:
			t.Errorf("key %s, acknowledged at revision %d, is lost", key, want.revision)
		case got.revision < want.revision, got.revision == want.revision && !strings.HasSuffix(got.value, want.value):
			t.Errorf("key %s was acknowledged as %v, is %d %.20q", key, want, got.revision, got.value)
		}
	}
	if n := rowCount(t, s); int64(n) != current {
		t.Errorf("%d rows up to revision %d", n, current)
	}
	if s.backend.data.dialect.shared {
		return // a server looks after its files itself
	}
	var verdict string
	if err := s.backend.data.read.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity: %s, %v", verdict, err)
	}
}

// A kill leaves what was written with the kernel; a power cut does not. That
// takes synchronous=FULL, which is 2.
func TestAcknowledgedMeansSyncedToTheDisk(t *testing.T) {
	for parameter, want := range map[string]int{"": 2, "?synchronous=full": 2, "?synchronous=normal": 1, "?synchronous=off": 0} {
		t.Run("parameter"+parameter, func(t *testing.T) {
			s := serve(t, databaseIn(t.TempDir())+parameter)
			got := make(chan int, 1)
			err := s.backend.writer.do(t.Context(), "", 0, func(b *batch) error {
				var level int
				err := b.session.conn.QueryRowContext(b.ctx, "PRAGMA synchronous").Scan(&level)
				got <- level
				return err
			})
			if level := <-got; err != nil || level != want {
				t.Errorf("synchronous is %d, want %d, %v", level, want, err)
			}
		})
	}
}

func TestTheLogIsCopiedIntoTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, databaseIn(dir))
	c := client(t, s)
	value := strings.Repeat("v", 1024)
	var wait sync.WaitGroup
	for w := range 16 {
		wait.Go(func() {
			for n := range 250 {
				if _, err := create(t.Context(), c, fmt.Sprintf("/r/%d/%d", w, n), value); err != nil {
					t.Error(err)
					return
				}
				if n%50 == 0 { // readers come and go meanwhile
					if _, _, err := s.backend.List(t.Context(), "/r/", "/r0", 0, 0, false); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	busy := size("state.db-wal")
	eventually(t, "the log is empty", func() bool { return size("state.db-wal") == 0 })
	t.Logf("log of %d bytes after 4,000 creates, then none; database of %d bytes", busy, size("state.db"))
	if size("state.db") < 4_000*1024 {
		t.Errorf("the database has %d bytes, less than was written", size("state.db"))
	}
	shut(t, s)
	if size("state.db-wal") != 0 {
		t.Error("the log is there after Close")
	}
}

func TestReadersThatNeverPauseDoNotKeepTheLogGrowing(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, databaseIn(dir))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wait sync.WaitGroup
	defer wait.Wait()
	for n := range 3 {
		wait.Go(func() {
			for ctx.Err() == nil {
				// Ends only when the next reader has begun.
				_ = s.backend.reader.look(ctx, func(*snapshot) error {
					time.Sleep(time.Duration(20+10*n) * time.Millisecond)
					return nil
				})
			}
		})
	}
	value := make([]byte, 256<<10)
	for n := range 1200 { // 300 MiB
		if _, _, err := s.backend.Put(t.Context(), fmt.Sprint("/r/", n%10), value, 0); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "state.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("log of %d MiB", info.Size()>>20)
	if info.Size() > 2*walLimit {
		t.Errorf("the log has %d MiB", info.Size()>>20)
	}
	cancel()
}
