package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	harness "github.com/cellfed/cellfed/test/harness/database"
)

// serveTwo starts two storages on one database.
func serveTwo(t *testing.T) [2]*Server {
	t.Helper()
	endpoint := mariaDBEndpoint(t, harness.SharedMariaDB(t))
	return [2]*Server{serve(t, endpoint), serve(t, endpoint)}
}

func TestTwoServersTellOneStory(t *testing.T) {
	onShared(t, testOneStory)
}

func testOneStory(t *testing.T, clients [2]*clientv3.Client) {
	const writers, rounds = 16, 15
	const last = 1 + writers*rounds*3
	var wait sync.WaitGroup
	stories := make([][]string, 4)
	for n := range stories {
		wait.Go(func() {
			var err error
			if stories[n], err = follow(t.Context(), clients[n%2], 2, last); err != nil {
				t.Errorf("watch %d: %v", n, err)
			}
		})
	}
	for w := range writers {
		wait.Go(func() {
			if err := write(t.Context(), clients[w%2], w, rounds); err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wait.Wait()
	for n := range stories {
		if diff := cmp.Diff(stories[0], stories[n]); diff != "" {
			t.Errorf("watch %d differs from the first (-first +other):\n%.2000s", n, diff)
		}
	}
}

func TestOnlyOneOfTwoServersWins(t *testing.T) {
	onShared(t, testOneWins)
}

func testOneWins(t *testing.T, clients [2]*clientv3.Client) {
	made, err := create(t.Context(), clients[0], "/r/lease", "0")
	if err != nil {
		t.Fatal(err)
	}
	revision := made.Header.Revision
	for round := range 50 {
		var won [8]bool
		var wait sync.WaitGroup
		for n := range won {
			wait.Go(func() {
				got, err := update(t.Context(), clients[n%2], "/r/lease", fmt.Sprint(round, " ", n), revision)
				if err != nil {
					t.Errorf("round %d: %v", round, err)
					return
				}
				won[n] = got.Succeeded
			})
		}
		wait.Wait()
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d updates of one revision succeeded", round, winners)
		}
		got, err := clients[round%2].Get(t.Context(), "/r/lease")
		if err != nil || len(got.Kvs) != 1 {
			t.Fatalf("round %d: %v, %v", round, got, err)
		}
		revision = got.Kvs[0].ModRevision
	}
}

func TestWhatIsAcknowledgedByOneServerIsReadThroughTheOther(t *testing.T) {
	onShared(t, func(t *testing.T, clients [2]*clientv3.Client) { testReadThroughTheOther(t, clients[0], clients[1]) })
}

func testReadThroughTheOther(t *testing.T, writing, reading *clientv3.Client) {
	for n := range 200 {
		made, err := create(t.Context(), writing, fmt.Sprintf("/r/%03d", n), "v")
		if err != nil {
			t.Fatal(err)
		}
		got, err := reading.Get(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil || len(got.Kvs) != n+1 || got.Header.Revision < made.Header.Revision {
			t.Fatalf("after %d creates the other server shows %d at revision %d, %v", n+1, len(got.Kvs), got.Header.Revision, err)
		}
	}
}

func TestAWatchHearsOfTheOtherServersWritesSoon(t *testing.T) {
	servers := serveTwo(t)
	writing, watching := client(t, servers[0]), client(t, servers[1])
	events := watching.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	var delays []time.Duration
	for n := range 100 {
		if _, err := create(t.Context(), writing, fmt.Sprint("/r/", n), "v"); err != nil {
			t.Fatal(err)
		}
		acknowledged := time.Now()
		<-events
		delays = append(delays, time.Since(acknowledged))
		time.Sleep(time.Duration(n%7) * 10 * time.Millisecond)
	}
	slices.Sort(delays)
	t.Logf("event after acknowledgement: p50 %s, p99 %s, worst %s", delays[50], delays[99], delays[99])
	if delays[50] > 250*time.Millisecond { // the figure is the benchmark's; stock Kine needs half a second here
		t.Errorf("p50 is %s", delays[50])
	}
}

// Progress that is told by one server must cover what the other acknowledged, or an
// API server would serve a list from its cache that lacks it.
func TestProgressCoversTheOtherServersWrites(t *testing.T) {
	onShared(t, func(t *testing.T, clients [2]*clientv3.Client) { testProgressCovers(t, clients[0], clients[1]) })
}

func testProgressCovers(t *testing.T, writing, watching *clientv3.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := watching.Watch(clientv3.WithRequireLeader(ctx), "/r/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	for n := range 20 {
		made, err := create(ctx, writing, fmt.Sprint("/r/", n), "v")
		if err != nil {
			t.Fatal(err)
		}
		seen, told := false, int64(0)
		for told < made.Header.Revision {
			if err := watching.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
				t.Fatal(err)
			}
			answer := <-events
			if answer.IsProgressNotify() {
				told = answer.Header.Revision
			}
			for _, e := range answer.Events {
				seen = seen || e.Kv.ModRevision == made.Header.Revision
			}
		}
		if !seen {
			t.Fatalf("progress to %d was told before the event of %d", told, made.Header.Revision)
		}
	}
}

// What one server wrote with a lease runs out also when only the other is left.
func TestLeasesOfAServerThatIsGoneRunOut(t *testing.T) {
	shared := &expirer{backend: &backend{data: &database{dialect: mysqlDialect}}}
	if got := shared.rest(-1); got != expireAtLeast {
		t.Errorf("a server that knows of no lease looks again after %s", got)
	}
	alone := &expirer{backend: &backend{data: &database{dialect: sqliteDialect}}}
	if got := alone.rest(-1); got >= 0 {
		t.Errorf("a file that holds no lease is looked at again after %s", got)
	}
}
