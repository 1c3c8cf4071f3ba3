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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/grpclog"

	"github.com/cellfed/cellfed/pkg/storage"
)

func init() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) }

// silent is nobody who looks at the progress.
type silent struct{}

func (silent) Set(string, int, int, string) {}
func (silent) Printf(string, ...any)        {}

// sqliteIn gives the endpoint of a SQLite database in a directory.
func sqliteIn(dir string) string { return "sqlite://" + filepath.Join(dir, "state.db") }

// opened is a database that this process serves until the test ends, or until it is closed.
type opened struct {
	*clientv3.Client
	close func()
}

func serve(t *testing.T, endpoint string) opened {
	t.Helper()
	s, err := openStore(t.Context(), storage.Config{Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	o := opened{s.client, func() {
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
		t.Fatalf("creating %q: %v, %v", key, done, err)
	}
	return done.Header.Revision
}

// content is all that is stored, by key.
func (o opened) content(t *testing.T) map[string]string {
	t.Helper()
	got, err := o.Get(t.Context(), prefix, clientv3.WithRange(end))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range got.Kvs {
		if string(kv.Key) != healthKey {
			all[string(kv.Key)] = string(kv.Value)
		}
	}
	return all
}

// fill writes objects of many kinds: empty and large ones, any bytes, keys that sort oddly.
func (o opened) fill(t *testing.T, objects int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	for n := range objects {
		value := make([]byte, rand.New(random).IntN(3000))
		_, _ = random.Read(value)
		o.create(t, fmt.Sprintf("/registry/configmaps/ns-%d/object-%d", n%7, n), string(value))
	}
	o.create(t, "/registry/empty", "")
	o.create(t, "/registry/large", strings.Repeat("large", 700_000))
	for _, name := range []string{" view", "view ", "View", "é", "e\u0301", "\U0001f600", "\x7f", "a%2fb", "a", "a\x00", "a\x00b"} {
		o.create(t, "/registry/clusterroles/"+name, name)
	}
	lease, err := o.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	o.create(t, "/registry/events/default/a", "an event", clientv3.WithLease(lease.ID))
}

func TestAllObjectsTravelToTheByte(t *testing.T) {
	routes := map[string]func(t *testing.T, from, to string) (Summary, error){
		"through a file": func(t *testing.T, from, to string) (Summary, error) {
			file := filepath.Join(t.TempDir(), "backup")
			if _, err := Backup(t.Context(), from, file, silent{}); err != nil {
				return Summary{}, err
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file: %v, %v", info, err)
			}
			return Restore(t.Context(), file, to, silent{})
		},
		"directly": func(t *testing.T, from, to string) (Summary, error) { return Copy(t.Context(), from, to, silent{}) },
	}
	for name, carry := range routes {
		t.Run(name, func(t *testing.T) {
			from, to := sqliteIn(t.TempDir()), sqliteIn(t.TempDir())
			source := serve(t, from)
			source.fill(t, 1500)
			source.create(t, "/elsewhere", "not an API server's")
			want := source.content(t)
			summary, err := carry(t, from, to)
			if err != nil {
				t.Fatal(err)
			}
			target := serve(t, to)
			if diff := cmp.Diff(want, target.content(t)); diff != "" {
				t.Errorf("source and target differ:\n%s", diff)
			}
			if summary.Objects != len(want) || summary.Revision <= summary.Source {
				t.Errorf("summary %+v: want %d objects and a revision above the source's", summary, len(want))
			}
			if got, err := target.Get(t.Context(), "/registry/events/default/a"); err != nil || got.Kvs[0].Lease != 3600 {
				t.Errorf("an object that expires: %v, %v", got, err)
			}
			if got, err := target.Get(t.Context(), "/", clientv3.WithRange("0"), clientv3.WithCountOnly()); err != nil || got.Count != int64(len(want))+1 {
				t.Errorf("with the health key there are %v, %v: something else was left", got, err)
			}
			if err := refuseMarked(t.Context(), target.Client); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestABackupIsOneRevisionOfADatabaseThatIsWritten(t *testing.T) {
	from, to := sqliteIn(t.TempDir()), sqliteIn(t.TempDir())
	source := serve(t, from)
	// Pairs that are always written one after the other: a first half without its second must be the newest.
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	var written int
	writing.Go(func() {
		for ; ctx.Err() == nil; written++ {
			source.create(t, fmt.Sprintf("/registry/b/%08d", written), "")
			source.create(t, fmt.Sprintf("/registry/a/%08d", written), "")
		}
	})
	time.Sleep(500 * time.Millisecond)
	file := filepath.Join(t.TempDir(), "backup")
	summary, err := Backup(t.Context(), from, file, silent{})
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
		halves[key[len("/registry/"):][:1]]++
	}
	if second, first := halves["a"], halves["b"]; first-second > 1 || second > first || first == 0 || first == written {
		t.Errorf("%+v: %d first halves and %d second ones of %d: not one revision, or nothing was written meanwhile", summary, first, second, written)
	}
}

func TestOldRevisionsOfTheSourceAreToldToListAnew(t *testing.T) {
	from, to := sqliteIn(t.TempDir()), sqliteIn(t.TempDir())
	source := serve(t, from)
	source.create(t, "/registry/kept", "x")
	at := source.create(t, "/registry/gone", "x")
	for range 3000 {
		if _, err := source.Put(t.Context(), "/registry/kept", "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := source.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision("/registry/gone"), "=", at)).
		Then(clientv3.OpDelete("/registry/gone")).Else(clientv3.OpGet("/registry/gone")).Commit(); err != nil {
		t.Fatal(err)
	}
	summary, err := Copy(t.Context(), from, to, silent{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", summary)
	target := serve(t, to)
	for name, revision := range map[string]int64{"of a watcher that never saw the deletion": at + 1, "the newest": summary.Source} {
		answer := <-target.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision))
		if !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
			t.Errorf("a watch from revision %d, %s: %v, want that it is compacted", revision, name, answer)
		}
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
	if err := refuseMarked(t.Context(), target.Client); err != nil {
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
		"an object less": {func(t *testing.T, o opened) {
			got, _ := o.Get(t.Context(), "/registry/empty")
			_, _ = o.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision("/registry/empty"), "=", got.Kvs[0].ModRevision)).
				Then(clientv3.OpDelete("/registry/empty")).Else(clientv3.OpGet("/registry/empty")).Commit()
		}, "is missing"},
		"nothing": {func(*testing.T, opened) {}, ""},
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
			r := &restorer{file: whole, target: &store{client: target.Client}, progress: silent{}, began: time.Now()}
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
