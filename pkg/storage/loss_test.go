package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	harness "github.com/cellfed/cellfed/test/harness/database"
)

// loseTail does to a MariaDB what a fail-over to a replica does that lacks the last
// transactions: the entries after a revision are gone, and the head stands there.
func loseTail(t *testing.T, m *harness.MariaDB, name string, after int64) {
	t.Helper()
	err := m.Exec(t.Context(), fmt.Sprintf("START TRANSACTION; SELECT * FROM `%[1]s`.head FOR UPDATE;"+
		"DELETE FROM `%[1]s`.entries WHERE revision > %[2]d;"+
		"UPDATE `%[1]s`.head SET revision = %[2]d, stamp = (SELECT stamp FROM `%[1]s`.entries WHERE revision = %[2]d); COMMIT", name, after))
	if err != nil {
		t.Fatal(err)
	}
}

// rewrite makes other entries under the revisions that were lost, as the successor
// of a lost primary does before anybody here has looked.
func rewrite(t *testing.T, m *harness.MariaDB, name string, n int) {
	t.Helper()
	for range n {
		err := m.Exec(t.Context(), fmt.Sprintf("START TRANSACTION; UPDATE `%[1]s`.head SET revision = revision + 1, stamp = 4711;"+
			"INSERT INTO `%[1]s`.entries SELECT revision, CONCAT('/other/', revision), 0, revision, 0, 1, 0, 0, 4711, 'other' FROM `%[1]s`.head; COMMIT", name))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// begunAnewAt waits for a watch to be sent back to list.
func begunAnewAt(t *testing.T, events clientv3.WatchChan) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case answer, ok := <-events:
			if !ok {
				t.Fatal("the watch ended without a word")
			}
			if answer.Err() == nil {
				continue
			}
			if !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
				t.Fatalf("the watch ended with %v, want one that sends its client back to list", answer.Err())
			}
			return
		case <-limit:
			t.Fatal("the watch goes on as if nothing had happened")
		}
	}
}

func TestADatabaseThatLosesItsLastEntriesIsNoticedByAll(t *testing.T) {
	for name, overtaken := range map[string]int{"and is behind": 0, "and stands where it stood": 3, "and has gone further": 5} {
		t.Run(name, func(t *testing.T) {
			m := harness.SharedMariaDB(t)
			database := m.Database(t)
			endpoint := m.URL(database)
			servers := [2]*Server{serve(t, endpoint), serve(t, endpoint)}
			clients := [2]*clientv3.Client{client(t, servers[0]), client(t, servers[1])}
			var last int64
			for n := range 10 {
				made, err := create(t.Context(), clients[n%2], fmt.Sprintf("/r/%d", n), "v")
				if err != nil {
					t.Fatal(err)
				}
				last = made.Header.Revision
			}
			for _, s := range servers {
				eventually(t, "both servers have seen all", func() bool { return s.backend.hub.published() == last })
			}
			var watches [2]clientv3.WatchChan
			for n, c := range clients {
				watches[n] = c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithRev(last+1), clientv3.WithCreatedNotify())
				<-watches[n]
			}
			began := time.Now()
			loseTail(t, m, database, last-3)
			rewrite(t, m, database, overtaken)
			for _, w := range watches {
				begunAnewAt(t, w)
			}
			t.Logf("all watches begin anew after %s", time.Since(began))
			eventually(t, "both servers write again", func() bool {
				for n, c := range clients {
					got, err := create(t.Context(), c, fmt.Sprintf("/again/%d/%d", n, time.Now().UnixNano()), "v")
					if err != nil || got.Header.Revision <= last+1000 {
						return false
					}
				}
				return true
			})
			for n, c := range clients {
				got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix())
				if err != nil || len(got.Kvs) != 7 {
					t.Errorf("server %d lists %d of the 7 that are left, %v", n, len(got.Kvs), err)
				}
				if answer := <-c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithRev(last+1)); !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
					t.Errorf("server %d lets a client go on from revision %d of the lost past: %v", n, last+1, answer.Err())
				}
			}
			report, err := m.Value(t.Context(), fmt.Sprintf("SELECT value FROM `%s`.entries WHERE name = '%s' ORDER BY revision DESC LIMIT 1", database, lossKey))
			if err != nil || !strings.Contains(report, fmt.Sprintf(`"lastSeen":%d`, last)) {
				t.Errorf("the database reports %q, %v", report, err)
			}
		})
	}
}

// A write that rests on what was lost must not pass, also when the same key has
// the same revision again. It is the write that has to find it out here: the
// follower, which looks 25 times a second, is held back until it has.
func TestAWriteThatRestsOnWhatWasLostIsRefused(t *testing.T) {
	m := harness.SharedMariaDB(t)
	database := m.Database(t)
	s := serve(t, m.URL(database))
	c := client(t, s)
	made, err := create(t.Context(), c, "/r/a", "seen")
	if err != nil {
		t.Fatal(err)
	}
	at := made.Header.Revision
	s.backend.follower.mu.Lock()
	time.AfterFunc(time.Second, s.backend.follower.mu.Unlock)
	if err := m.Exec(t.Context(), fmt.Sprintf("UPDATE `%[1]s`.entries SET stamp = 1, value = 'another' WHERE revision = %[2]d; UPDATE `%[1]s`.head SET stamp = 1", database, at)); err != nil {
		t.Fatal(err)
	}
	if got, err := update(t.Context(), c, "/r/a", "from what was seen", at); err == nil && got.Succeeded {
		t.Error("an update of an entry that is another by now succeeded")
	}
	if got, err := c.Get(t.Context(), "/r/a"); err == nil && string(got.Kvs[0].Value) != "another" {
		t.Errorf("the entry is %q", got.Kvs[0].Value)
	}
}

func TestALossWhileTheServerWasDownIsNoticedByItsMark(t *testing.T) {
	for name, restore := range map[string]func(t *testing.T, dir string){
		"an older copy of the file was put back": func(t *testing.T, dir string) {
			copyFile(t, filepath.Join(dir, "older"), filepath.Join(dir, "state.db"))
		},
		"an older copy was put back, and another program has written since": func(t *testing.T, dir string) {
			copyFile(t, filepath.Join(dir, "older"), filepath.Join(dir, "state.db"))
			db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := db.ExecContext(t.Context(), `UPDATE head SET revision = revision + 1, stamp = 4711;
					INSERT INTO entries SELECT revision, '/other/' || revision, 0, revision, 0, 1, 0, 0, NULL, 4711 FROM head`); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			start := func() *Server {
				t.Helper()
				s, err := Start(t.Context(), Config{Endpoint: databaseIn(dir), MarkFile: filepath.Join(dir, "seen")})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := start()
			if _, err := create(t.Context(), client(t, s), "/r/a", "v"); err != nil {
				t.Fatal(err)
			}
			shut(t, s)
			copyFile(t, filepath.Join(dir, "state.db"), filepath.Join(dir, "older"))
			s = start()
			made, err := create(t.Context(), client(t, s), "/r/b", "v")
			if err != nil {
				t.Fatal(err)
			}
			seen := made.Header.Revision
			shut(t, s)

			restore(t, dir)
			s = start()
			c := client(t, s)
			got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix())
			if err != nil || len(got.Kvs) != 1 || got.Header.Revision < seen+1000 {
				t.Fatalf("after the loss: %v, %v", got, err)
			}
			if answer := <-c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithRev(seen+1)); !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
				t.Errorf("a client may go on from revision %d of the lost past: %v", seen+1, answer.Err())
			}
			shut(t, s)
			// Told once, it is not told again.
			s = start()
			defer shut(t, s)
			again, err := client(t, s).Get(t.Context(), "/r/", clientv3.WithPrefix())
			if err != nil || again.Header.Revision != got.Header.Revision {
				t.Errorf("after another start: %v, %v; want revision %d", again, err, got.Header.Revision)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A server that was frozen for longer than history is kept cannot know what it
// missed, so its watchers list anew, and no loss is cried.
func TestAServerThatWasAwayTooLongBeginsAnew(t *testing.T) {
	servers := serveTwo(t)
	frozen, awake := servers[0], client(t, servers[1])
	c := client(t, frozen)
	events := c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	frozen.backend.follower.mu.Lock() // its follower is not heard of
	var last int64
	for n := range 20 {
		made, err := awake.Put(t.Context(), "/r/a", fmt.Sprint(n))
		if err != nil {
			t.Fatal(err)
		}
		last = made.Header.Revision
	}
	if _, err := awake.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the past is swept", func() bool { return rowCount(t, servers[1]) <= 3 })
	frozen.backend.follower.mu.Unlock()
	begunAnewAt(t, events)
	if got, err := c.Get(t.Context(), "/r/a"); err != nil || got.Header.Revision != last {
		t.Errorf("revision %v, %v; want %d: nothing was lost", got, err, last)
	}
}

func TestARevisionIsRaisedAtOnce(t *testing.T) {
	onSQL(t, func(t *testing.T, endpoint string) {
		s := serve(t, endpoint)
		c := client(t, s)
		if _, err := create(t.Context(), c, "/r/a", "v"); err != nil {
			t.Fatal(err)
		}
		events := c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithRev(1))
		if err := s.RaiseRevision(context.WithoutCancel(t.Context()), 5_000_000); err != nil {
			t.Fatal(err)
		}
		begunAnewAt(t, events)
		made, err := create(t.Context(), c, "/r/b", "v")
		if err != nil || made.Header.Revision != 5_000_001 {
			t.Fatalf("next: %v, %v", made, err)
		}
		if got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix()); err != nil || len(got.Kvs) != 2 {
			t.Errorf("list: %v, %v", got, err)
		}
	})
}
