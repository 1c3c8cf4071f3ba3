package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/grpclog"

	"github.com/cellfed/cellfed/pkg/storage"
)

func init() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) }

// silent is nobody who looks at the progress.
type silent struct{}

func (silent) Set(string, int, int, string) {}
func (silent) Printf(string, ...any)        {}

// on is a store as this package's own code sees it.
func on(c *clientv3.Client) *store { return &store{client: c, space: space{registry}} }

// opened is a database that this process serves until the test ends, or until it is closed.
type opened struct {
	*clientv3.Client
	at    storage.Transport
	close func()
}

func serve(t *testing.T, endpoint string) opened {
	t.Helper()
	s, err := openStore(t.Context(), storage.Config{Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	o := opened{s.client, s.server.Transport(), func() {
		once.Do(func() {
			if err := s.close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}}
	t.Cleanup(o.close)
	return o
}

func (o opened) create(t *testing.T, key, value string, options ...clientv3.OpOption) int64 {
	t.Helper()
	done, err := o.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value, options...)).Commit()
	if err != nil || !done.Succeeded {
		t.Errorf("creating %q: %v, %v", key, done, err)
		return 0
	}
	return done.Header.Revision
}

func (o opened) remove(t *testing.T, key string) {
	t.Helper()
	r := restorer{target: on(o.Client)}
	if err := r.drop(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// content is all that is stored, by key.
func (o opened) content(t *testing.T) map[string]string {
	t.Helper()
	got, err := o.Get(t.Context(), registry+"/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range got.Kvs {
		if string(kv.Key) != registry+"/health" {
			all[string(kv.Key)] = string(kv.Value)
		}
	}
	return all
}

// fill writes objects of many kinds: empty and large ones, any bytes, keys that sort oddly.
func (o opened) fill(t *testing.T, objects int) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for n := range objects {
		group.Go(func() error {
			value := make([]byte, 2*n)
			_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(value)
			o.create(t, fmt.Sprintf("/registry/configmaps/ns-%d/object-%d", n%7, n), string(value))
			return nil
		})
	}
	_ = group.Wait()
	o.create(t, "/registry/empty", "")
	o.create(t, "/registry/large", strings.Repeat("large", 280_000))
	for _, name := range []string{" view", "view ", "View", "é", "e\u0301", "\U0001f600", "\x7f", "a%2fb", "a", "a\x00", "a\x00b"} {
		o.create(t, "/registry/clusterroles/"+name, name)
	}
	lease, err := o.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	o.create(t, "/registry/events/default/a", "an event", clientv3.WithLease(lease.ID))
}

func throughAFile(t *testing.T, from, to string) (Summary, error) {
	file := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), from, file, silent{}); err != nil {
		return Summary{}, err
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	return Restore(t.Context(), file, to, silent{})
}

func directly(t *testing.T, from, to string) (Summary, error) {
	return Copy(t.Context(), from, to, silent{})
}

func TestAllObjectsTravelToTheByte(t *testing.T) {
	for name, carry := range map[string]func(t *testing.T, from, to string) (Summary, error){"through a file": throughAFile, "directly": directly} {
		for _, route := range routes {
			t.Run(route.from+" to "+route.to+" "+name, func(t *testing.T) {
				from, to := backends[route.from](t), backends[route.to](t)
				source := serve(t, from)
				source.fill(t, 500)
				source.create(t, "/elsewhere", "not an API server's")
				want := source.content(t)
				summary, err := carry(t, from, to)
				if err != nil {
					t.Fatal(err)
				}
				if summary.Objects != len(want) || summary.Revision <= summary.Source {
					t.Errorf("summary %+v: want %d objects and a revision above the source's", summary, len(want))
				}
				serve(t, to).mustBe(t, want)
			})
		}
	}
}

// mustBe compares a restored database with what was backed up.
func (o opened) mustBe(t *testing.T, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, o.content(t)); diff != "" {
		t.Errorf("source and target differ:\n%s", diff)
	}
	if got, err := o.Get(t.Context(), "/registry/events/default/a"); err != nil || len(got.Kvs) != 1 || got.Kvs[0].Lease == 0 {
		t.Errorf("an object that expires: %v, %v", got, err)
	}
	if got, err := o.Get(t.Context(), "/elsewhere"); err != nil || len(got.Kvs) != 0 {
		t.Errorf("what is no API server's: %v, %v", got, err)
	}
}

func TestABackupIsOneRevisionOfADatabaseThatIsWritten(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			from, to := backend(t), sqliteIn(t.TempDir())
			source := serve(t, from)
			// Pairs that are always written one after the other: only the newest may be a first half without its second.
			ctx, stop := context.WithCancel(t.Context())
			var writing sync.WaitGroup
			var written atomic.Int64
			writing.Go(func() {
				for ; ctx.Err() == nil; written.Add(1) {
					source.create(t, fmt.Sprintf("/registry/b/%08d", written.Load()), "")
					source.create(t, fmt.Sprintf("/registry/a/%08d", written.Load()), "")
				}
			})
			for written.Load() < 100 {
				time.Sleep(time.Millisecond)
			}
			file := filepath.Join(t.TempDir(), "backup")
			summary, err := Backup(t.Context(), from, file, silent{})
			for before := written.Load(); err == nil && written.Load() < before+10; {
				time.Sleep(time.Millisecond) // it is still being written
			}
			stop()
			writing.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(t.Context(), file, to, silent{}); err != nil {
				t.Fatal(err)
			}
			halves := map[string]int{}
			for key := range serve(t, to).content(t) {
				halves[key[len(registry+"/"):][:1]]++
			}
			if second, first := halves["a"], halves["b"]; first-second > 1 || second > first || first < 100 || first >= int(written.Load()) {
				t.Errorf("%+v: %d first halves and %d second ones of %d: not one revision, or nothing was written meanwhile", summary, first, second, written.Load())
			}
		})
	}
}

func TestOldRevisionsOfTheSourceAreToldToListAnew(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			from, to := sqliteIn(t.TempDir()), backend(t)
			source := serve(t, from)
			at := source.create(t, "/registry/gone", "x")
			source.create(t, "/registry/kept", "x")
			source.remove(t, "/registry/gone")
			source.rewrite(t, "/registry/kept", 2000)
			summary, err := Copy(t.Context(), from, to, silent{})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", summary)
			target := serve(t, to)
			for name, revision := range map[string]int64{"of a watcher that never saw the deletion": at + 1, "the newest": summary.Source} {
				answer := <-target.Watch(t.Context(), registry+"/", clientv3.WithPrefix(), clientv3.WithRev(revision))
				if !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
					t.Errorf("a watch from revision %d, %s: %v, want that it is compacted", revision, name, answer)
				}
			}
		})
	}
}

// rewrite writes a key many times.
func (o opened) rewrite(t *testing.T, key string, times int) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for range times {
		group.Go(func() error {
			_, err := o.Put(t.Context(), key, "x")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestATargetThatHoldsSomethingIsRefusedUntouched(t *testing.T) {
	from, to := sqliteIn(t.TempDir()), sqliteIn(t.TempDir())
	serve(t, from).create(t, "/registry/a", "1")
	target := serve(t, to)
	target.create(t, "/registry/b", "2")
	target.close()
	if _, err := Copy(t.Context(), from, to, silent{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("copying: %v, want %v", err, ErrNotEmpty)
	}
	target = serve(t, to)
	if diff := cmp.Diff(map[string]string{"/registry/b": "2"}, target.content(t)); diff != "" {
		t.Errorf("the refused target:\n%s", diff)
	}
	if err := RefuseUnfinished(t.Context(), target.at); err != nil {
		t.Errorf("the refused target was marked: %v", err)
	}
	// And one that a plane holds is not even looked into.
	if _, err := Copy(t.Context(), from, to, silent{}); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("copying to a database in use: %v", err)
	}
}

func TestWhatIsWrittenToTheTargetMeanwhileIsNoticed(t *testing.T) {
	tests := map[string]struct {
		meddle func(t *testing.T, target opened)
		says   string
	}{
		"an object more":  {func(t *testing.T, o opened) { o.create(t, "/registry/m", "") }, "is not in the backup"},
		"one at the end":  {func(t *testing.T, o opened) { o.create(t, "/registry/zz", "") }, "is not in the backup"},
		"another content": {func(t *testing.T, o opened) { _, _ = o.Put(t.Context(), "/registry/empty", "x") }, "differs from the backup"},
		"another at a key before": {func(t *testing.T, o opened) {
			_, _ = o.Put(t.Context(), "/registry/configmaps/ns-0/object-0", "x")
		}, "differs from the backup"},
		"an object less": {func(t *testing.T, o opened) { o.remove(t, "/registry/empty") }, "is missing"},
		"nothing":        {func(*testing.T, opened) {}, ""},
	}
	dir := t.TempDir()
	source, file := serve(t, sqliteIn(dir)), filepath.Join(dir, "backup")
	source.fill(t, 50)
	if _, err := Backup(t.Context(), sqliteIn(dir), file, silent{}); err != nil {
		t.Fatal(err)
	}
	whole := read(t, file)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			to := sqliteIn(t.TempDir())
			if _, err := Restore(t.Context(), file, to, silent{}); err != nil {
				t.Fatal(err)
			}
			target := serve(t, to)
			test.meddle(t, target)
			r := &restorer{file: whole, target: on(target.Client), progress: silent{}, began: time.Now()}
			revision, err := r.target.revision(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = r.compare(t.Context(), revision)
			if got := fmt.Sprint(err); test.says == "" && err != nil || !strings.Contains(got, test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

func TestOtherKeysThanTheBackupsAreRefused(t *testing.T) {
	file, _ := backedUp(t, 1)
	target := serve(t, sqliteIn(t.TempDir()))
	r := &restorer{file: read(t, file), target: &store{client: target.Client, space: space{"/other"}}, progress: silent{}}
	if err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), "bound to its key") {
		t.Errorf("restoring below another prefix: %v", err)
	}
	if got, err := target.Get(t.Context(), "/other", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || got.Count != 0 {
		t.Errorf("it wrote %v, %v", got, err)
	}
}

func read(t *testing.T, name string) *fileReader {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := openFile(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return whole
}
