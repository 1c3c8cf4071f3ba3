package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// story is what a watcher was told, one line per event.
func story(events []*clientv3.Event) []string {
	var out []string
	for _, e := range events {
		previous := ""
		if e.PrevKv != nil {
			previous = fmt.Sprintf(" was %s@%d", e.PrevKv.Value, e.PrevKv.ModRevision)
		}
		out = append(out, fmt.Sprintf("%d %s %s %s%s", e.Kv.ModRevision, e.Type, e.Kv.Key, e.Kv.Value, previous))
	}
	return out
}

// follow collects events up to a revision, and fails on a gap: the watch is of
// all keys, so the revisions are consecutive.
func follow(ctx context.Context, c *clientv3.Client, from, upTo int64) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	next := from
	var all []*clientv3.Event
	for answer := range c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithPrevKV()) {
		if err := answer.Err(); err != nil {
			return nil, err
		}
		for _, e := range answer.Events {
			if e.Kv.ModRevision != next {
				return nil, fmt.Errorf("revision %d instead of %d", e.Kv.ModRevision, next)
			}
			next++
			all = append(all, e)
		}
		if next > upTo {
			return story(all), nil
		}
	}
	return nil, fmt.Errorf("the watch ended at revision %d", next)
}

// write creates, updates and deletes keys, three revisions for each.
func write(ctx context.Context, c *clientv3.Client, writer, rounds int) error {
	for n := range rounds {
		key := fmt.Sprintf("/w/%02d/%d", writer, n)
		made, err := create(ctx, c, key, "one")
		if err != nil {
			return err
		}
		changed, err := update(ctx, c, key, "two", made.Header.Revision)
		if err != nil {
			return err
		}
		if gone, err := remove(ctx, c, key, changed.Header.Revision); err != nil || !gone.Succeeded {
			return fmt.Errorf("delete %s: %v, %w", key, gone, err)
		}
	}
	return nil
}

func TestWatchesAreOrderedAndWithoutGapsUnderManyWriters(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		const writers, rounds = 32, 15
		const last = 1 + writers*rounds*3 // revision 1 is no client's: Kine's health key, etcd's beginning
		c := b.connect()
		var wait sync.WaitGroup
		stories := make([][]string, 6)
		watchFrom := func(n int, from int64) {
			watching := b.connect()
			wait.Go(func() {
				var err error
				if stories[n], err = follow(t.Context(), watching, from, last); err != nil {
					t.Errorf("watch %d: %v", n, err)
				}
			})
		}
		watchFrom(0, 2)
		for w := range writers {
			wait.Go(func() {
				if err := write(t.Context(), c, w, rounds); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			})
		}
		// More come while writing goes on, from the past and from what is to come.
		for n, from := range []int64{3, 100, 500, last - 10, last} {
			time.Sleep(20 * time.Millisecond)
			watchFrom(n+1, from)
		}
		wait.Wait()
		if t.Failed() {
			return
		}
		whole := stories[0]
		for n, from := range []int64{2, 3, 100, 500, last - 10, last} {
			if diff := cmp.Diff(whole[from-2:], stories[n]); diff != "" {
				t.Errorf("watch %d from %d differs from the first (-first +other):\n%.2000s", n, from, diff)
			}
		}

		b.restart()
		restarted, err := follow(t.Context(), b.connect(), 2, last)
		if err != nil {
			t.Fatalf("after a restart: %v", err)
		}
		if diff := cmp.Diff(whole, restarted); diff != "" {
			t.Errorf("what the database tells differs from what the watch told (-watch +database):\n%.2000s", diff)
		}
	})
}

func TestAWatchIsToldAtOnce(t *testing.T) {
	onSQL(t, func(t *testing.T, endpoint string) {
		s := serve(t, endpoint)
		c := client(t, s)
		events := c.Watch(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-events
		var delays []time.Duration
		for n := range 300 {
			if _, err := create(t.Context(), c, fmt.Sprint("/r/", n), "v"); err != nil {
				t.Fatal(err)
			}
			acknowledged := time.Now()
			<-events
			delays = append(delays, time.Since(acknowledged))
			if n > 0 && delays[n] > 500*time.Millisecond && delays[n-1] > 500*time.Millisecond {
				t.Fatalf("events come %s and %s after the acknowledgement", delays[n-1], delays[n])
			}
		}
		slices.Sort(delays)
		p50, p99 := delays[len(delays)/2], delays[len(delays)*99/100]
		t.Logf("event after acknowledgement: p50 %s, p99 %s, worst %s", p50, p99, delays[len(delays)-1])
		if p99 > 50*time.Millisecond {
			t.Errorf("p99 is %s, want at most 50 ms", p99)
		}
	})
}

// An API server serves a consistent list from its cache once progress says that
// the cache has everything. So whatever was acknowledged before the request
// must be delivered before the report.
func TestProgressIsReportedAfterTheEventsBeforeIt(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		watching, writing := b.connect(), b.connect()
		ctx := t.Context()
		events := watching.Watch(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-events
		var wait sync.WaitGroup
		defer wait.Wait()
		noise, quiet := context.WithCancel(ctx)
		defer quiet()
		for n := range 4 {
			wait.Go(func() { _ = write(noise, writing, n, 1<<30) }) // ends with its context
		}
		var seen int64
		late := false // whether answers to earlier requests may still come
		for n := range 100 {
			made, err := create(ctx, writing, fmt.Sprint("/r/", n), "v")
			if err != nil {
				t.Fatal(err)
			}
			// etcd does not answer while a watch of the stream has not caught up. An API
			// server asks again, and so does this, and takes no late answer for the one to
			// its last request.
			ask := time.NewTicker(200 * time.Millisecond)
			asked := 0
			for told := false; !told; {
				if asked == 0 {
					if err := watching.RequestProgress(ctx); err != nil {
						t.Fatal(err)
					}
					asked++
				}
				select {
				case <-ask.C:
					if err := watching.RequestProgress(ctx); err != nil {
						t.Fatal(err)
					}
					asked++
				case answer, open := <-events:
					switch {
					case !open:
						t.Fatal("the watch ended")
					case !answer.IsProgressNotify():
						seen = answer.Events[len(answer.Events)-1].Kv.ModRevision
					case answer.Header.Revision < made.Header.Revision && b.server != nil && asked == 1 && !late:
						t.Fatalf("progress %d is before the request at %d", answer.Header.Revision, made.Header.Revision)
					case answer.Header.Revision >= made.Header.Revision && seen < made.Header.Revision:
						t.Fatalf("progress %d was told before event %d", answer.Header.Revision, made.Header.Revision)
					default:
						told = answer.Header.Revision >= made.Header.Revision
					}
				}
			}
			ask.Stop()
			late = late || asked > 1
		}
	})
}

// recordedStream keeps what is sent on a watch stream.
type recordedStream struct {
	etcdserverpb.Watch_WatchServer
	mu   sync.Mutex
	sent []*etcdserverpb.WatchResponse
}

func (r *recordedStream) Send(answer *etcdserverpb.WatchResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, answer)
	return nil
}

// A report of progress that lies behind events which were sent already would make an
// API server call what it knows by an older revision. Here the report is asked for
// while an event is on its way.
func TestProgressNeverLiesBehindEventsThatWereSent(t *testing.T) {
	backend := serve(t, databaseIn(t.TempDir())).backend
	recorded := &recordedStream{}
	stream := &watchStream{server: &watchServer{backend: backend}, stream: recorded, watches: map[int64]*activeWatch{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer stream.wait.Wait()
	defer cancel()
	w, _, err := backend.hub.subscribe(keyRange{"/r/", "/r0"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := &activeWatch{watcher: w, id: 1, request: &etcdserverpb.WatchCreateRequest{}, cancel: cancel}
	stream.watches[a.id] = a
	stream.wait.Go(func() { stream.follow(ctx, a) })
	for n := range 200 {
		a.delivering.Lock()
		asked := make(chan error)
		go func() { asked <- stream.progress(true) }()
		time.Sleep(time.Millisecond)
		rev, _, err := backend.Put(ctx, "/r/a", fmt.Append(nil, n), 0)
		if err != nil {
			t.Fatal(err)
		}
		a.delivering.Unlock()
		if err := <-asked; err != nil {
			t.Fatal(err)
		}
		recorded.mu.Lock()
		var sent, reported int64
		for _, answer := range recorded.sent {
			for _, e := range answer.Events {
				sent = e.Kv.ModRevision
			}
			if len(answer.Events) == 0 {
				if reported = answer.Header.Revision; reported < sent {
					t.Fatalf("progress to %d is told after the event of %d", reported, sent)
				}
			}
		}
		recorded.mu.Unlock()
		if sent != rev || reported < rev {
			t.Fatalf("progress to %d and events to %d, after %d was published", reported, sent, rev)
		}
	}
}

// etcd's client ends its process when a report to the whole stream meets a watch
// that the server has just ended: it has closed that watch's channel, and sends.
func TestAReportOfProgressNeverMeetsAWatchThatTheServerEnded(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	c := client(t, s)
	staying := c.Watch(t.Context(), "/r/staying", clientv3.WithCreatedNotify())
	<-staying
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	wait.Go(func() {
		for ctx.Err() == nil {
			_ = c.RequestProgress(t.Context()) // of the stream of all these watches
			time.Sleep(100 * time.Microsecond)
		}
	})
	wait.Go(func() {
		for {
			select {
			case <-staying:
			case <-ctx.Done():
				return
			}
		}
	})
	for n := range 300 {
		var ended []clientv3.WatchChan
		for range 10 {
			ended = append(ended, c.Watch(t.Context(), "/r/ending", clientv3.WithCreatedNotify()))
		}
		for _, events := range ended {
			<-events
		}
		s.backend.hub.mu.Lock()
		for w := range s.backend.hub.watchers {
			if w.keys.start == "/r/ending" {
				w.end(errSlowWatcher)
			}
		}
		s.backend.hub.mu.Unlock()
		for _, events := range ended {
			for answer := range events {
				if !answer.IsProgressNotify() && !answer.Canceled {
					t.Fatalf("round %d: %+v", n, answer)
				}
			}
		}
	}
}

// A list may show more than has been published: what another server wrote is read before it is polled. A report of the
// published revision would call what was listed by an older one.
func TestProgressIsNotReportedToAWatchThatBeginsBeyondIt(t *testing.T) {
	backend := serve(t, databaseIn(t.TempDir())).backend
	recorded := &recordedStream{}
	stream := &watchStream{server: &watchServer{backend: backend}, stream: recorded, watches: map[int64]*activeWatch{}}
	rev, _, err := backend.Put(t.Context(), "/r/a", []byte("v"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for id, after := range map[int64]int64{1: rev, 2: rev + 5} {
		w, _, err := backend.hub.subscribe(keyRange{"/r/", "/r0"}, after)
		if err != nil {
			t.Fatal(err)
		}
		stream.watches[id] = &activeWatch{watcher: w, id: id, request: &etcdserverpb.WatchCreateRequest{}, cancel: func() {}}
	}
	if err := stream.progress(true); err != nil {
		t.Fatal(err)
	}
	if len(recorded.sent) != 1 || recorded.sent[0].WatchId != 1 || recorded.sent[0].Header.Revision != rev {
		t.Errorf("reported were %v", recorded.sent)
	}
}

func TestASlowWatchEndsInsteadOfFillingTheMemory(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	slow, upTo, err := s.backend.hub.subscribe(keyRange{"/r/", "/r0"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 4<<20)
	for range 2 * backlogBytes / len(value) {
		if _, _, err := s.backend.Put(t.Context(), "/r/a", value, 0); err != nil {
			t.Fatal(err)
		}
	}
	if events, _, err := slow.take(); err != errSlowWatcher || len(events) != 0 {
		t.Errorf("a watch that nobody reads has %d events, error %v", len(events), err)
	}
	// The client takes it up where it was, and misses nothing.
	_, past, _, _, err := s.backend.watch(t.Context(), keyRange{"/r/", "/r0"}, upTo+1)
	if err != nil || len(past) != 2*backlogBytes/len(value) || past[0].KV.ModRevision != upTo+1 {
		t.Errorf("taken up again: %d events, %v", len(past), err)
	}
}

func TestACancelledWatchLeavesNothingBehind(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	c := client(t, s)
	for n := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		events := c.Watch(ctx, fmt.Sprint("/r/", n), clientv3.WithCreatedNotify())
		<-events
		cancel()
		for range events {
		}
	}
	eventually(t, "the hub has no watchers", func() bool {
		s.backend.hub.mu.Lock()
		defer s.backend.hub.mu.Unlock()
		return len(s.backend.hub.watchers) == 0
	})
}

func TestDeletesCarryWhatWasDeleted(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c := b.connect()
		made, err := create(t.Context(), c, "/r/a", "v")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := remove(t.Context(), c, "/r/a", made.Header.Revision); err != nil {
			t.Fatal(err)
		}
		answer := <-c.Watch(t.Context(), "/r/a", clientv3.WithRev(made.Header.Revision), clientv3.WithPrevKV())
		if len(answer.Events) != 2 {
			t.Fatalf("events: %v", answer.Events)
		}
		if e := answer.Events[1]; e.Type != mvccpb.DELETE || e.Kv.ModRevision != made.Header.Revision+1 || string(e.PrevKv.Value) != "v" {
			t.Errorf("deletion: %v", e)
		}
	})
}
