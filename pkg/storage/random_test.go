package storage

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	harness "github.com/cellfed/cellfed/test/harness/database"
	"github.com/cellfed/cellfed/test/mysqlproxy"
)

var (
	faultsWanted = flag.Int("faults", 150, "how many random faults hit the storage: go test -run RandomFaults -args -faults=10000")
	faultsSeed   = flag.Uint64("faults-seed", 0, "the seed of the random faults; 0 = a new one, which is told")
)

// randomFault is one of all ways to spoil one statement.
func randomFault(r *rand.Rand) (string, mysqlproxy.Rule) {
	rule := mysqlproxy.Rule{Times: 1}
	target := []struct {
		name  string
		match func(mysqlproxy.Statement) bool
	}{
		{"BEGIN", mysqlproxy.OfKind("START")}, {"COMMIT", mysqlproxy.OfKind("COMMIT")}, {"INSERT", mysqlproxy.OfKind("INSERT")},
		{"UPDATE", mysqlproxy.OfKind("UPDATE")}, {"SELECT", mysqlproxy.OfKind("SELECT")}, {"(SELECT", mysqlproxy.Contains("ORDER BY revision DESC LIMIT 1")},
		{"ROLLBACK", mysqlproxy.OfKind("ROLLBACK")}, {"history", mysqlproxy.Contains("FORCE INDEX")},
	}[r.IntN(8)]
	rule.Match = target.match
	errs := []mysqlproxy.Error{mysqlproxy.ErrDeadlock, mysqlproxy.ErrLockWait, mysqlproxy.ErrReadOnly, mysqlproxy.ErrTableFull, mysqlproxy.ErrRecordChanged, mysqlproxy.ErrWrongValue}
	switch r.IntN(8) {
	case 0:
		rule.Fault = mysqlproxy.CutBeforeForwarding()
	case 1, 2:
		rule.Fault = mysqlproxy.CutBeforeAnswer()
	case 3:
		rule.Fault = mysqlproxy.CutAfterRow(r.IntN(20))
	case 4:
		rule.Fault = mysqlproxy.CutAfterByte(r.IntN(3000))
	case 5:
		rule.Fault = mysqlproxy.Hold(time.Duration(r.IntN(300)) * time.Millisecond)
	case 6:
		rule.Fault = mysqlproxy.HoldAnswer(time.Duration(r.IntN(300)) * time.Millisecond)
	default:
		rule.Fault = mysqlproxy.Fail(errs[r.IntN(len(errs))])
	}
	return target.name + ": " + rule.Fault.String(), rule
}

// ledger is what clients were told of their writes.
type ledger struct {
	mu   sync.Mutex
	sure map[string]int64 // acknowledged creates, by revision
}

// tell writes keys of its own until told to stop, and reads now and then.
func (s *ledger) tell(ctx context.Context, t *testing.T, c *clientv3.Client, prefix string, stop <-chan struct{}) {
	mine := 0
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		key := fmt.Sprintf("/r/%s/%05d", prefix, n)
		made, err := create(ctx, c, key, prefix)
		s.mu.Lock()
		switch {
		case err == nil && made.Succeeded:
			s.sure[key] = made.Header.Revision
			mine++
		case err == nil:
			t.Errorf("%s exists, though nobody else writes it", key)
		}
		s.mu.Unlock()
		if n%5 == 0 {
			got, err := c.Get(ctx, "/r/"+prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
			if err == nil && len(got.Kvs) < mine {
				t.Errorf("a list shows %d of the %d keys under %s that were acknowledged", len(got.Kvs), mine, prefix)
			}
		}
	}
}

// Whatever happens between two servers and their database: what was acknowledged
// is there, lists are whole, and all watches tell one story without a gap.
func TestRandomFaultsLoseNothingAndInventNothing(t *testing.T) {
	seed := *faultsSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-faults-seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for hit := 0; hit < *faultsWanted; {
		n := min(*faultsWanted-hit, 250)
		done := t.Run(fmt.Sprintf("faults %d and after", hit), func(t *testing.T) { hit += lifeWithFaults(t, r, n) })
		if !done {
			return
		}
	}
}

func lifeWithFaults(t *testing.T, r *rand.Rand, wanted int) (hit int) {
	m := harness.SharedMariaDB(t)
	p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address(), Seed: r.Uint64()})
	endpoint := m.URLAt(p.Address(), m.Database(t))
	clients := []*clientv3.Client{client(t, serve(t, endpoint)), client(t, serve(t, endpoint))}
	s := &ledger{sure: map[string]int64{}}
	stop := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	var told [2]atomic.Int64
	for n, c := range clients {
		wait.Go(func() { watchWithoutGap(ctx, t, c, &told[n], stop) })
		for w := range 4 {
			wait.Go(func() { s.tell(ctx, t, c, fmt.Sprintf("%d-%d", n, w), stop) })
		}
	}
	for hit < wanted && !t.Failed() {
		what, rule := randomFault(r)
		active := p.Add(rule)
		select {
		case <-active.First():
			hit++
		case <-time.After(300 * time.Millisecond): // nobody says that now
		}
		active.Remove()
		if r.IntN(20) == 0 {
			p.CutAll()
			hit++
		}
		if t.Failed() {
			t.Logf("after %s", what)
		}
		time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
	}
	close(stop)
	wait.Wait()
	for n, c := range clients {
		eventually(t, "both write again", func() bool { _, err := c.Put(ctx, "/last", ""); return err == nil })
		sameAsTold(t, fmt.Sprint("server ", n), c, s.sure)
	}
	t.Logf("%d faults, %d acknowledged writes, watches told up to %d and %d", hit, len(s.sure), told[0].Load(), told[1].Load())
	if len(s.sure) < hit/10 {
		t.Errorf("only %d writes were acknowledged between %d faults: the test proves little", len(s.sure), hit)
	}
	return hit
}

// watchWithoutGap follows everything from the beginning until told to stop.
func watchWithoutGap(ctx context.Context, t *testing.T, c *clientv3.Client, told *atomic.Int64, stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := int64(1)
	events := c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(next))
	for {
		select {
		case <-stop:
			return
		case answer, ok := <-events:
			if !ok || answer.Err() != nil { // a read of the past that failed: the client takes it up again
				events = c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(next))
				time.Sleep(10 * time.Millisecond)
				continue
			}
			for _, e := range answer.Events {
				if e.Kv.ModRevision != next {
					t.Errorf("a watch told %d after %d", e.Kv.ModRevision, next-1)
					return
				}
				told.Store(next)
				next++
			}
		}
	}
}
