package storage

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/grpclog"
	"go.uber.org/zap"
	"io"
)

func init() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) }

// databaseIn gives the endpoint of a database in a directory.
func databaseIn(dir string) string { return "sqlite://" + filepath.Join(dir, "state.db") }

// serve starts a storage that ends with the test.
func serve(t testing.TB, endpoint string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

// shut closes a storage within the time that a plane has for it.
func shut(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func client(t testing.TB, s *Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// create does what an API server does to create an object.
func create(ctx context.Context, c *clientv3.Client, key, value string, options ...clientv3.OpOption) (*clientv3.TxnResponse, error) {
	return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value, options...)).Commit()
}

// update does what an API server does to update an object.
func update(ctx context.Context, c *clientv3.Client, key, value string, revision int64) (*clientv3.TxnResponse, error) {
	return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
}

// remove does what an API server does to delete an object.
func remove(ctx context.Context, c *clientv3.Client, key string, revision int64) (*clientv3.TxnResponse, error) {
	return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key)).Commit()
}

func TestSmoke(t *testing.T) {
	s := serve(t, databaseIn(t.TempDir()))
	c := client(t, s)
	w := c.Watch(t.Context(), "/a", clientv3.WithPrefix(), clientv3.WithPrevKV())
	r, err := create(t.Context(), c, "/a/1", "x")
	if err != nil || !r.Succeeded {
		t.Fatal(r, err)
	}
	t.Log(r)
	u, err := update(t.Context(), c, "/a/1", "y", r.Header.Revision)
	t.Log(u, err)
	u, err = update(t.Context(), c, "/a/1", "y", r.Header.Revision)
	t.Log(u, err)
	g, err := c.Get(t.Context(), "/a", clientv3.WithPrefix())
	t.Log(g, err)
	d, err := remove(t.Context(), c, "/a/1", g.Kvs[0].ModRevision)
	t.Log(d, err)
	for n := 0; n < 3; {
		x := <-w
		for _, e := range x.Events {
			t.Log(e)
			n++
		}
	}
}
