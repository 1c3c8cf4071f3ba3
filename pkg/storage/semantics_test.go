package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func keys(kvs []*mvccpb.KeyValue) []string {
	out := []string{}
	for _, kv := range kvs {
		out = append(out, string(kv.Key))
	}
	return out
}

// withoutHealth leaves out the key that Kine makes by itself.
func withoutHealth(keys []string) []string {
	return slices.DeleteFunc(keys, func(k string) bool { return k == "/registry/health" })
}

func TestAnAPIServersTransactionsCompareAndSwap(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c, ctx := b.connect(), t.Context()

		first, err := create(ctx, c, "/r/a", "1")
		if err != nil || !first.Succeeded {
			t.Fatalf("create: %v, %v", first, err)
		}
		again, err := create(ctx, c, "/r/a", "other")
		if err != nil || again.Succeeded {
			t.Fatalf("a second create of the same key: %v, %v", again, err)
		}
		second, err := update(ctx, c, "/r/a", "2", first.Header.Revision)
		if err != nil || !second.Succeeded || second.Header.Revision != first.Header.Revision+1 {
			t.Fatalf("update: %v, %v", second, err)
		}
		stale, err := update(ctx, c, "/r/a", "3", first.Header.Revision)
		if err != nil || stale.Succeeded {
			t.Fatalf("update of a stale revision: %v, %v", stale, err)
		}
		want := &mvccpb.KeyValue{Key: []byte("/r/a"), Value: []byte("2"), Version: 2, CreateRevision: first.Header.Revision, ModRevision: second.Header.Revision}
		if diff := cmp.Diff(want, stale.Responses[0].GetResponseRange().Kvs[0]); diff != "" {
			t.Errorf("a refused update tells how the key stands (-want +got):\n%s", diff)
		}
		if gone, err := update(ctx, c, "/r/none", "x", 1); err != nil || gone.Succeeded || len(gone.Responses[0].GetResponseRange().Kvs) != 0 {
			t.Errorf("update of a key that is not there: %v, %v", gone, err)
		}
		if held, err := remove(ctx, c, "/r/a", first.Header.Revision); err != nil || held.Succeeded || len(held.Responses[0].GetResponseRange().Kvs) != 1 {
			t.Errorf("delete of a stale revision: %v, %v", held, err)
		}
		if none, err := remove(ctx, c, "/r/none", 5); err != nil || none.Succeeded {
			t.Errorf("delete of a key that is not there: %v, %v", none, err)
		}
		removed, err := remove(ctx, c, "/r/a", second.Header.Revision)
		if err != nil || !removed.Succeeded {
			t.Fatalf("delete: %v, %v", removed, err)
		}
		if got, err := c.Get(ctx, "/r/a"); err != nil || len(got.Kvs) != 0 || got.Header.Revision != removed.Header.Revision {
			t.Errorf("get of a deleted key: %v, %v", got, err)
		}
		reborn, err := create(ctx, c, "/r/a", "4")
		if err != nil || !reborn.Succeeded {
			t.Fatalf("create after delete: %v, %v", reborn, err)
		}
		if got, err := c.Get(ctx, "/r/a"); err != nil || got.Kvs[0].CreateRevision != reborn.Header.Revision || got.Kvs[0].Version != 1 {
			t.Errorf("a key that was created anew: %v, %v", got, err)
		}
		if old, err := c.Get(ctx, "/r/a", clientv3.WithRev(first.Header.Revision)); err != nil || string(old.Kvs[0].Value) != "1" {
			t.Errorf("get at an old revision: %v, %v", old, err)
		}
	})
}

func TestAPlainPutReplacesWhateverIsThere(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c := b.connect()
		if _, err := c.Put(t.Context(), "/r/a", "1"); err != nil {
			t.Fatal(err)
		}
		got, err := c.Put(t.Context(), "/r/a", "2", clientv3.WithPrevKV())
		if err != nil || string(got.PrevKv.Value) != "1" {
			t.Errorf("put: %v, %v", got, err)
		}
	})
}

func TestPagesOfAListShowOneRevision(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c, ctx := b.connect(), t.Context()
		var want []string
		for n := range 25 {
			key := fmt.Sprintf("/r/%02d", n)
			want = append(want, key)
			if _, err := create(ctx, c, key, key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := create(ctx, c, "/s/outside", ""); err != nil {
			t.Fatal(err)
		}
		page, err := c.Get(ctx, "/r/", clientv3.WithRange("/r0"), clientv3.WithLimit(10))
		if err != nil {
			t.Fatal(err)
		}
		revision := page.Header.Revision
		got := keys(page.Kvs)
		// Between the pages things change; the list must not.
		if _, err := create(ctx, c, "/r/11a", "new"); err != nil {
			t.Fatal(err)
		}
		at, _ := c.Get(ctx, "/r/20")
		if _, err := remove(ctx, c, "/r/20", at.Kvs[0].ModRevision); err != nil {
			t.Fatal(err)
		}
		for page.More {
			if page.Count != int64(len(want)-len(got)+len(page.Kvs)) {
				t.Errorf("count of the rest is %d after %d of %d keys", page.Count, len(got), len(want))
			}
			page, err = c.Get(ctx, got[len(got)-1]+"\x00", clientv3.WithRange("/r0"), clientv3.WithLimit(10), clientv3.WithRev(revision))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, keys(page.Kvs)...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages (-want +got):\n%s", diff)
		}
		now, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil || !slices.Contains(keys(now.Kvs), "/r/11a") || slices.Contains(keys(now.Kvs), "/r/20") || len(now.Kvs[0].Value) != 0 {
			t.Errorf("keys now: %v, %v", keys(now.Kvs), err)
		}
		if all, err := c.Get(ctx, "/r/24", clientv3.WithFromKey()); err != nil || !slices.Equal(withoutHealth(keys(all.Kvs)), []string{"/r/24", "/s/outside"}) {
			t.Errorf("from a key on: %v, %v", keys(all.Kvs), err)
		}
		if n, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || n.Count != 25 {
			t.Errorf("count: %v, %v", n, err)
		}
	})
}

// A page's header is what an API server watches from, so it may not be ahead of
// what the page shows: writes in between would be seen by nobody.
func TestAPagesHeaderIsTheRevisionItShows(t *testing.T) {
	onSQL(t, func(t *testing.T, endpoint string) {
		s := serve(t, endpoint)
		c := client(t, s)
		for n := range 3 {
			if _, err := create(t.Context(), c, fmt.Sprint("/r/", n), ""); err != nil {
				t.Fatal(err)
			}
		}
		// What Kine does for a page: list, then count at the list's revision.
		listed, _, err := s.backend.List(t.Context(), "/r/", "/r0", 2, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := create(t.Context(), c, "/r/between", ""); err != nil {
			t.Fatal(err)
		}
		if counted, n, err := s.backend.Count(t.Context(), "/r/", "/r0", listed); err != nil || counted != listed || n != 3 {
			t.Errorf("list at %d, count says %d keys at %d, %v", listed, n, counted, err)
		}
	})
}

func TestARevisionThatIsToComeIsRefused(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		if got, err := b.connect().Get(t.Context(), "/r/", clientv3.WithPrefix(), clientv3.WithRev(1000)); !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Errorf("list at a future revision: %v, %v", got, err)
		}
	})
}

func TestCompactionForgetsOldRevisionsAndNothingElse(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c, ctx := b.connect(), t.Context()
		made, err := create(ctx, c, "/r/kept", "0")
		if err != nil {
			t.Fatal(err)
		}
		for n := range 1200 { // more than one step of the sweep
			if made, err = update(ctx, c, "/r/kept", fmt.Sprint(n), made.Header.Revision); err != nil {
				t.Fatal(err)
			}
		}
		gone, err := create(ctx, c, "/r/gone", "")
		if err != nil {
			t.Fatal(err)
		}
		last, err := remove(ctx, c, "/r/gone", gone.Header.Revision)
		if err != nil {
			t.Fatal(err)
		}
		at := last.Header.Revision
		if _, err := c.Compact(ctx, at); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compact(ctx, at); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("compacting again: %v", err)
		}
		if _, err := c.Compact(ctx, at+100); !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Errorf("compacting the future: %v", err)
		}
		if _, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithRev(at-1)); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("list before the compaction: %v", err)
		}
		if answer := <-c.Watch(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithRev(at-1)); !errors.Is(answer.Err(), rpctypes.ErrCompacted) || answer.CompactRevision != at {
			t.Errorf("watch from before the compaction: %+v", answer)
		}
		if got, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithRev(at)); err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1199" {
			t.Errorf("list at the compacted revision: %v, %v", got, err)
		}
		if b.server != nil {
			// The health key, the kept key, and the deletion because it is the newest
			// entry, together with what it deleted.
			eventually(t, "the sweep leaves four rows", func() bool { return rowCount(t, b.server()) == 4 })
		}

		b.restart()
		c = b.connect()
		if _, err := c.Get(ctx, "/r/", clientv3.WithPrefix(), clientv3.WithRev(at-1)); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("list before the compaction, after a restart: %v", err)
		}
		next, err := create(ctx, c, "/r/next", "")
		if err != nil || next.Header.Revision != at+1 {
			t.Fatalf("the next revision after %d, a compaction and a restart: %v, %v", at, next, err)
		}
		if _, err := c.Compact(ctx, at+1); err != nil {
			t.Fatal(err)
		}
		if b.server != nil {
			eventually(t, "the deletion is swept when it is no longer the newest", func() bool { return rowCount(t, b.server()) == 3 })
		}
		if got, err := c.Get(ctx, "/r/", clientv3.WithPrefix()); err != nil || !slices.Equal(keys(got.Kvs), []string{"/r/kept", "/r/next"}) {
			t.Errorf("keys after all: %v, %v", keys(got.Kvs), err)
		}
	})
}

func rowCount(t *testing.T, s *Server) (n int) {
	t.Helper()
	if err := s.backend.data.read.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM entries").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("does not come true: %s", what)
		}
	}
}

// The API server's own record of its compactions goes by another road in Kine.
func TestTheAPIServersCompactionRecordComparesVersions(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c := b.connect()
		record := func(version int64, value string) *clientv3.TxnResponse {
			t.Helper()
			got, err := c.Txn(t.Context()).If(clientv3.Compare(clientv3.Version("compact_rev_key"), "=", version)).
				Then(clientv3.OpPut("compact_rev_key", value)).Else(clientv3.OpGet("compact_rev_key")).Commit()
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := record(0, "10"); !got.Succeeded {
			t.Errorf("first: %v", got)
		}
		if got := record(1, "20"); !got.Succeeded {
			t.Errorf("second: %v", got)
		}
		got := record(1, "30")
		if kv := got.Responses[0].GetResponseRange().Kvs[0]; got.Succeeded || kv.Version != 2 || string(kv.Value) != "20" {
			t.Errorf("stale: %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		answer := <-c.Watch(ctx, "compact_rev_key", clientv3.WithRev(2))
		if len(answer.Events) == 0 {
			t.Fatal("the watch of the record tells nothing")
		}
		if kv := answer.Events[len(answer.Events)-1].Kv; string(kv.Key) != "compact_rev_key" || string(kv.Value) != "20" {
			t.Errorf("watch of the record: %v", kv)
		}
	})
}

func TestALeasedKeyExpires(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		c := b.connect()
		lease := func(seconds int64) clientv3.OpOption {
			t.Helper()
			granted, err := c.Grant(t.Context(), seconds)
			if err != nil {
				t.Fatal(err)
			}
			return clientv3.WithLease(granted.ID)
		}
		began := time.Now()
		if _, err := create(t.Context(), c, "/events/long", "", lease(3600)); err != nil {
			t.Fatal(err)
		}
		brief, err := create(t.Context(), c, "/events/brief", "v", lease(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := create(t.Context(), c, "/events/restarted", "", lease(3)); err != nil {
			t.Fatal(err)
		}
		renewed, err := create(t.Context(), c, "/events/renewed", "", lease(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := update(t.Context(), c, "/events/renewed", "for ever", renewed.Header.Revision); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		answer := <-c.Watch(ctx, "/events/brief", clientv3.WithRev(brief.Header.Revision+1), clientv3.WithPrevKV())
		if len(answer.Events) == 0 {
			t.Fatalf("the watch ended without an expiry: %v", answer.Err())
		}
		if e := answer.Events[0]; e.Type != mvccpb.DELETE || string(e.PrevKv.Value) != "v" {
			t.Errorf("event of an expiry: %v", e)
		}
		if took := time.Since(began); took < time.Second || took > 3*time.Second && b.server != nil { // etcd knows no lease of 1 s
			t.Errorf("a lease of 1 s took %s", took)
		}
		b.restart()
		c = b.connect()
		eventually(t, "a lease runs out in a later process", func() bool {
			got, err := c.Get(t.Context(), "/events/", clientv3.WithPrefix())
			return err == nil && slices.Equal(keys(got.Kvs), []string{"/events/long", "/events/renewed"})
		})
		if took := time.Since(began); took < 3*time.Second || took > 6*time.Second && b.server != nil { // etcd begins to count anew
			t.Errorf("a lease of 3 s took %s over a restart", took)
		}
	})
}

func TestARestartKeepsEverything(t *testing.T) {
	onEvery(t, func(t *testing.T, b *conformer) {
		made, err := create(t.Context(), b.connect(), "/r/a", "v")
		if err != nil {
			t.Fatal(err)
		}
		b.restart()
		c := b.connect()
		got, err := c.Get(t.Context(), "/r/a")
		if err != nil || got.Header.Revision != made.Header.Revision || got.Kvs[0].ModRevision != made.Header.Revision {
			t.Errorf("get: %v, %v", got, err)
		}
		if next, err := create(t.Context(), c, "/r/b", ""); err != nil || next.Header.Revision != made.Header.Revision+1 {
			t.Errorf("next: %v, %v", next, err)
		}
	})
}
