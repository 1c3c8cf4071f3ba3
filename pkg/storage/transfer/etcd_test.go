package transfer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cellfed/cellfed/pkg/storage"
	"github.com/cellfed/cellfed/test/harness/database"
)

// onEtcd is a real etcd, as a store whose requests go there straight: what Kine
// does not know, leases with a life of their own above all, is met only there.
func onEtcd(t *testing.T) opened {
	t.Helper()
	s, err := reach(storage.Transport{Endpoints: []string{database.RunEtcd(t, database.EtcdOptions{}).Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() })
	return opened{Client: s.client}
}

func TestObjectsTravelToEtcdAndBack(t *testing.T) {
	file, want := backedUp(t, 500)
	etcd := onEtcd(t)
	r := &restorer{file: read(t, file), target: on(etcd.Client), progress: silent{}, leases: map[int64]*grant{}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r.summary)
	etcd.mustBe(t, want)
	if answer := <-etcd.Watch(t.Context(), registry+"/", clientv3.WithPrefix(), clientv3.WithRev(r.file.header.Revision)); answer.Err() != rpctypes.ErrCompacted {
		t.Errorf("a watch from the source's revision: %v", answer.Err())
	}

	// An object whose lease has run for a while, and one of a lease that is gone with its object.
	long, err := etcd.Grant(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	etcd.create(t, "/registry/events/default/b", "another", clientv3.WithLease(long.ID))
	want["/registry/events/default/b"] = "another"
	back := filepath.Join(t.TempDir(), "back")
	out, err := os.Create(back)
	if err != nil {
		t.Fatal(err)
	}
	if err := on(etcd.Client).writeTo(t.Context(), out, silent{}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	left := map[string]int64{}
	for record, err := range read(t, back).all() {
		if err != nil {
			t.Fatal(err)
		}
		if record.ttl > 0 {
			left[string(record.key)] = record.ttl
		}
	}
	if a, b := left["/registry/events/default/a"], left["/registry/events/default/b"]; len(left) != 2 || a < 3000 || a > 3600 || b < 900 || b > 1000 {
		t.Errorf("etcd says what leases have left, the file says %v", left)
	}
	to := sqliteIn(t.TempDir())
	if _, err := Restore(t.Context(), back, to, silent{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, serve(t, to).content(t)); diff != "" {
		t.Errorf("there and back:\n%s", diff)
	}
}

// BenchmarkRaise measures the throw-away writes that raise a revision.
func BenchmarkRaise(b *testing.B) {
	s, err := reach(storage.Transport{Endpoints: []string{database.RunEtcd(b, database.EtcdOptions{}).Endpoint}})
	if err != nil {
		b.Fatal(err)
	}
	r := &restorer{target: s, progress: silent{}}
	from, err := s.revision(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := r.raiseByWrites(b.Context(), from, from+int64(b.N)); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}
