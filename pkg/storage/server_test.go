package storage

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/grpclog"
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
	c, err := newClient(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newClient(s *Server) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
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
