package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	harness "github.com/cellfed/cellfed/test/harness/database"
	"github.com/cellfed/cellfed/test/mysqlproxy"
)

// answerLimit is how long a client waits for word of a failure on a machine that is
// busy with other tests. What is promised is below.
const answerLimit = 5 * time.Second

func TestTheDatabaseIsWaitedForLessThanTwoSeconds(t *testing.T) {
	if longest := patience + lastTry; longest >= 2*time.Second {
		t.Errorf("a write may wait %s", longest)
	}
}

// behindProxy starts a storage whose database is behind a proxy that spoils.
func behindProxy(t *testing.T) (*Server, *mysqlproxy.Proxy) {
	t.Helper()
	m := harness.SharedMariaDB(t)
	p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address(), Seed: 1})
	return serve(t, m.URLAt(p.Address(), m.Database(t))), p
}

func isCommit(s mysqlproxy.Statement) bool { return strings.HasPrefix(s.Text, "COMMIT") }

func inserts(s mysqlproxy.Statement) bool { return strings.HasPrefix(s.Text, "INSERT INTO entries") }

func TestAWriteThatTheServerRefusesIsAnErrorWithItsCause(t *testing.T) {
	for name, e := range map[string]mysqlproxy.Error{
		"a deadlock": mysqlproxy.ErrDeadlock, "a lock that is not released": mysqlproxy.ErrLockWait, "a full disk": mysqlproxy.ErrTableFull,
		"a server that is read-only": mysqlproxy.ErrReadOnly, "a record that changed": mysqlproxy.ErrRecordChanged, "a wrong value": mysqlproxy.ErrWrongValue,
	} {
		t.Run(name, func(t *testing.T) {
			s, p := behindProxy(t)
			c := client(t, s)
			made, err := create(t.Context(), c, "/r/there", "v")
			if err != nil {
				t.Fatal(err)
			}
			rule := p.Add(mysqlproxy.Rule{Match: inserts, Fault: mysqlproxy.Fail(e)})
			for what, write := range map[string]func() error{
				"create": func() error { _, err := create(t.Context(), c, "/r/new", "v"); return err },
				"update": func() error { _, err := update(t.Context(), c, "/r/there", "w", made.Header.Revision); return err },
				"delete": func() error { _, err := remove(t.Context(), c, "/r/there", made.Header.Revision); return err },
			} {
				began, before := time.Now(), p.Statements()
				if err := write(); err == nil || !strings.Contains(err.Error(), e.Message) {
					t.Errorf("%s: %v, want the cause", what, err)
				}
				if took := time.Since(began); took > answerLimit {
					t.Errorf("%s took %s to fail", what, took)
				}
				if n := p.Statements() - before; n > 40 { // polls included
					t.Errorf("%s that failed took %d statements", what, n)
				}
			}
			rule.Remove()
			time.Sleep(breather)
			if got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix()); err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != made.Header.Revision {
				t.Errorf("after the failures: %v, %v", got, err)
			}
			if next, err := create(t.Context(), c, "/r/new", "v"); err != nil || next.Header.Revision != made.Header.Revision+1 {
				t.Errorf("after all is well: %v, %v", next, err)
			}
		})
	}
}

// A commit whose answer is lost is looked up: whoever asked is told what is true.
func TestALostAnswerToACommitIsLookedUp(t *testing.T) {
	for name, tc := range map[string]struct {
		fault   mysqlproxy.Fault
		written bool
	}{
		"the commit arrived":        {mysqlproxy.CutBeforeAnswer(), true},
		"the commit did not arrive": {mysqlproxy.CutBeforeForwarding(), false},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := behindProxy(t)
			c := client(t, s)
			for n := range 5 {
				p.Add(mysqlproxy.Rule{Match: isCommit, Times: 1, Fault: tc.fault})
				key := fmt.Sprintf("/r/%d", n)
				made, err := create(t.Context(), c, key, "v")
				if tc.written != (err == nil && made.Succeeded) {
					t.Errorf("create: %v, %v", made, err)
				}
				if err != nil && !strings.Contains(err.Error(), "nothing was written") {
					t.Errorf("the error leaves open what was written: %v", err)
				}
				if got, err := c.Get(t.Context(), key); err != nil || tc.written != (len(got.Kvs) == 1) {
					t.Errorf("get: %v, %v", got, err)
				}
			}
		})
	}
}

// A commit that stands still stops the writers, and nobody else; what becomes of it
// in the end is told to the watchers in its place.
func TestAStalledCommitLosesNoEventAndLastsNoLongerThanPatience(t *testing.T) {
	for _, held := range []time.Duration{100 * time.Millisecond, 900 * time.Millisecond, 4 * time.Second} {
		t.Run(held.String(), func(t *testing.T) {
			m := harness.SharedMariaDB(t)
			p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address()})
			database := m.Database(t)
			stalled, other := serve(t, m.URLAt(p.Address(), database)), serve(t, m.URL(database))
			sc, oc := client(t, stalled), client(t, other)
			release := make(chan struct{})
			p.Add(mysqlproxy.Rule{Match: isCommit, Times: 1, Fault: mysqlproxy.HoldUntil(release)})
			time.AfterFunc(held, func() { close(release) })
			var wait sync.WaitGroup
			var mu sync.Mutex
			acknowledged := map[string]int64{}
			for w := range 6 {
				wait.Go(func() {
					c := []*clientv3.Client{sc, oc}[w%2]
					for n := range 10 {
						key := fmt.Sprintf("/r/%d/%d", w, n)
						began := time.Now()
						made, err := create(t.Context(), c, key, "v")
						if took := time.Since(began); took > answerLimit {
							t.Errorf("%s took %s", key, took)
						}
						if err == nil {
							mu.Lock()
							acknowledged[key] = made.Header.Revision
							mu.Unlock()
						}
					}
				})
			}
			wait.Wait()
			eventually(t, "both write again", func() bool {
				_, a := sc.Put(t.Context(), "/last/a", "")
				_, b := oc.Put(t.Context(), "/last/b", "")
				return a == nil && b == nil
			})
			for n, c := range []*clientv3.Client{sc, oc} {
				sameAsTold(t, fmt.Sprint("server ", n), c, acknowledged)
			}
		})
	}
}

// MySQL ends a connection that rests, and says so to whoever uses it next.
func TestAConnectionThatTheServerHasEndedIsMadeAnew(t *testing.T) {
	s, p := behindProxy(t)
	c := client(t, s)
	for _, code := range []uint16{4031, 1927, 3169} {
		p.Add(mysqlproxy.Rule{Match: mysqlproxy.OfKind("START"), Times: 1, Fault: mysqlproxy.Fail(mysqlproxy.Error{Code: code, State: "HY000", Message: "farewell"})})
		if _, err := c.Put(t.Context(), "/r/a", fmt.Sprint(code)); err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// A lock that cannot be had is no write's own fault: each for itself would only
// wait for it again, one after the other.
func TestALockThatCannotBeHadFailsAllThatWaitAtOnce(t *testing.T) {
	s, p := behindProxy(t)
	rule := p.Add(mysqlproxy.Rule{Match: mysqlproxy.Contains("FOR UPDATE"), Fault: mysqlproxy.Fail(mysqlproxy.ErrLockWait)})
	w := s.backend.writer
	hold, held := make(chan struct{}), make(chan struct{})
	rule.Remove()
	go func() { _ = w.do(t.Context(), "", 0, func(*batch) error { close(held); <-hold; return nil }) }()
	<-held
	rule = p.Add(mysqlproxy.Rule{Match: mysqlproxy.Contains("FOR UPDATE"), Fault: mysqlproxy.Fail(mysqlproxy.ErrLockWait)})
	const writes = 20
	failed := make(chan error, writes)
	for n := range writes {
		go func() {
			_, err := s.backend.Create(t.Context(), fmt.Sprint("/r/", n), nil, 0)
			failed <- err
		}()
	}
	time.Sleep(100 * time.Millisecond) // all are waiting
	close(hold)
	for range writes {
		if err := <-failed; err == nil || !strings.Contains(err.Error(), mysqlproxy.ErrLockWait.Message) {
			t.Errorf("a write without the lock: %v", err)
		}
	}
	if n := rule.Fired(); n > writes/2 {
		t.Errorf("%d writes that shared a transaction asked for the lock %d times", writes, n)
	}
}

// A process that is frozen in the middle of a transaction holds the head's lock. The
// server ends its transaction, or nobody could write any more.
func TestAFrozenWriterDoesNotStopTheOthers(t *testing.T) {
	m := harness.SharedMariaDB(t)
	endpoint := m.URL(m.Database(t))
	c := client(t, serve(t, endpoint))
	source, err := parseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	config, err := source.server.config()
	if err != nil {
		t.Fatal(err)
	}
	frozen := sql.OpenDB(connector{config, flavourMariaDB.session("READ COMMITTED")})
	defer frozen.Close() //nolint:errcheck // its connection is dead
	conn, err := frozen.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&session{conn: conn, dialect: mysqlDialect}).lock(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := create(t.Context(), c, "/r/a", "v"); err == nil {
		t.Fatal("a write passed a lock that is held: the test proves nothing")
	}
	eventually(t, "others write again", func() bool {
		_, err := create(t.Context(), c, "/r/b", "v")
		return err == nil
	})
	if took := time.Since(began); took > frozenLimit*time.Second+answerLimit {
		t.Errorf("others could not write for %s", took)
	}
}

// sameAsTold compares a list, a watch from the beginning and what was acknowledged.
func sameAsTold(t *testing.T, who string, c *clientv3.Client, acknowledged map[string]int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := c.Get(ctx, "/r/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]int64{}
	for _, kv := range got.Kvs {
		listed[string(kv.Key)] = kv.ModRevision
	}
	for key, revision := range acknowledged {
		if listed[key] != revision {
			t.Errorf("%s: %s was acknowledged at %d and is listed at %d", who, key, revision, listed[key])
		}
	}
	next, story := int64(1), map[string]int64{}
	for answer := range c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(1)) {
		if answer.Err() != nil {
			t.Fatalf("%s: the watch ended at %d: %v", who, next, answer.Err())
		}
		for _, e := range answer.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("%s: the watch told %d after %d", who, e.Kv.ModRevision, next-1)
			}
			next++
			if _, ok := listed[string(e.Kv.Key)]; ok {
				story[string(e.Kv.Key)] = e.Kv.ModRevision
			}
		}
		if next > got.Header.Revision {
			break
		}
	}
	for key, revision := range listed {
		if story[key] != revision {
			t.Errorf("%s: %s is listed at %d and was watched at %d", who, key, revision, story[key])
		}
	}
}

func TestAReadThatIsCutIsAnErrorAndNeverAShortAnswer(t *testing.T) {
	const objects = 30
	s, p := behindProxy(t)
	c := client(t, s)
	for n := range objects {
		if _, err := create(t.Context(), c, fmt.Sprintf("/r/%02d", n), strings.Repeat("v", 100)); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(s mysqlproxy.Statement) bool {
		return strings.Contains(s.Text, "FROM entries AS e") && !strings.Contains(s.Text, "FROM head AS h")
	}
	short := 0
	for what, fault := range map[string]func(int) mysqlproxy.Fault{"row": mysqlproxy.CutAfterRow, "byte": func(n int) mysqlproxy.Fault { return mysqlproxy.CutAfterByte(n * 97) }} {
		for n := range objects {
			rule := p.Add(mysqlproxy.Rule{Match: reads, Times: 1, Fault: fault(n)})
			began := time.Now()
			got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix())
			if rule.Fired() == 0 {
				t.Fatalf("cut after %s %d: the fault was not met", what, n)
			}
			rule.Remove()
			if err == nil && len(got.Kvs) != objects {
				short++
				t.Errorf("cut after %s %d: a list of %d of %d without an error", what, n, len(got.Kvs), objects)
			}
			if took := time.Since(began); took > answerLimit {
				t.Errorf("cut after %s %d: it took %s to fail", what, n, took)
			}
		}
	}
	if got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix()); err != nil || len(got.Kvs) != objects {
		t.Errorf("after all cuts: %v", err)
	}
}

// A database that is away is answered for within two seconds, asked no more often
// than clients ask, and used again within a second.
func TestADatabaseThatIsAwayIsMissedQuicklyAndFoundAgainAtOnce(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, p *mysqlproxy.Proxy) (back func()){
		"it refuses connections": func(t *testing.T, p *mysqlproxy.Proxy) func() {
			if err := p.RefuseConnections(true); err != nil {
				t.Fatal(err)
			}
			p.CutAll()
			return func() {
				if err := p.RefuseConnections(false); err != nil {
					t.Fatal(err)
				}
			}
		},
		"it does not answer": func(_ *testing.T, p *mysqlproxy.Proxy) func() {
			p.Blackhole(true)
			return func() { p.Blackhole(false) }
		},
		"it is read-only": func(_ *testing.T, p *mysqlproxy.Proxy) func() {
			p.ReadOnly(&mysqlproxy.ErrReadOnly)
			return func() { p.ReadOnly(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := behindProxy(t)
			c := client(t, s)
			if _, err := create(t.Context(), c, "/r/a", "v"); err != nil {
				t.Fatal(err)
			}
			events := c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithRev(2))
			<-events
			back := away(t, p)
			var writes atomic.Int64
			before, since := p.Statements(), time.Now()
			deadline := time.Now().Add(3 * time.Second)
			var wait sync.WaitGroup
			for w := range 8 {
				wait.Go(func() {
					for n := 0; time.Now().Before(deadline); n++ {
						if w == 0 && name != "it is read-only" {
							began := time.Now()
							if got, err := c.Get(t.Context(), "/r/a"); err == nil {
								t.Errorf("a read was answered while the database was away: %v", got)
							}
							if took := time.Since(began); took > answerLimit {
								t.Errorf("it took %s to say that nothing can be read", took)
							}
						}
						writes.Add(1)
						began := time.Now()
						_, err := create(t.Context(), c, fmt.Sprintf("/r/away/%d/%d", w, n), "v")
						if err == nil {
							t.Errorf("a write succeeded while the database was away")
						}
						if errors.Is(err, rpctypes.ErrCompacted) {
							t.Errorf("it is taken for a loss: %v", err)
						}
						if took := time.Since(began); took > answerLimit {
							t.Errorf("it took %s to say that the database is away: %v", took, err)
						}
						time.Sleep(50 * time.Millisecond)
					}
				})
			}
			wait.Wait()
			statements := int64(p.Statements() - before)
			// Three statements for a write, and twenty-five looks at the head a second.
			if limit := 3*writes.Load() + int64(30*time.Since(since).Seconds()) + 50; statements > limit {
				t.Errorf("%d writes took %d statements, more than %d", writes.Load(), statements, limit)
			}
			back()
			began := time.Now()
			eventually(t, "it is used again", func() bool {
				_, err := create(t.Context(), c, "/r/back", "v")
				return err == nil
			})
			if took := time.Since(began); took > answerLimit {
				t.Errorf("it took %s to find it again", took)
			}
			for answer := range events {
				if answer.Err() != nil {
					t.Fatalf("the watch did not outlive it: %v", answer.Err())
				}
				if len(answer.Events) > 0 && string(answer.Events[len(answer.Events)-1].Kv.Key) == "/r/back" {
					return
				}
			}
		})
	}
}
