package storage

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	harness "github.com/cellfed/cellfed/test/harness/database"
)

// mariaDBEndpoint is the endpoint of an empty database of its own.
func mariaDBEndpoint(t testing.TB, m *harness.MariaDB) string {
	t.Helper()
	return m.URL(m.Database(t))
}

// onSQL runs a test of this package's log on an empty database of each kind that
// it lives in. What an API server relies on is tested with onEvery.
func onSQL(t *testing.T, test func(t *testing.T, endpoint string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, databaseIn(t.TempDir())) })
	t.Run("MariaDB", func(t *testing.T) { test(t, mariaDBEndpoint(t, harness.SharedMariaDB(t))) })
}

// conformer is a backend under a test of what an API server relies on.
type conformer struct {
	// connect makes another client of it.
	connect func() *clientv3.Client
	// restart ends it in an orderly way and starts it on what it has. Earlier clients are of no use afterwards.
	restart func()
	// server is nil for etcd: what it shows of the tables is this package's own.
	server func() *Server
}

// onEvery runs a test of what an API server relies on, on every backend: etcd
// itself included, so that what the test demands is known to be true of etcd.
func onEvery(t *testing.T, test func(t *testing.T, b *conformer)) {
	t.Helper()
	onSQL(t, func(t *testing.T, endpoint string) {
		s := serve(t, endpoint)
		test(t, &conformer{
			connect: func() *clientv3.Client { return client(t, s) },
			restart: func() {
				shut(t, s)
				s = serve(t, endpoint)
			},
			server: func() *Server { return s },
		})
	})
	t.Run("etcd", func(t *testing.T) {
		e := harness.RunEtcd(t, harness.EtcdOptions{})
		test(t, &conformer{
			connect: func() *clientv3.Client { return etcdClient(t, e) },
			restart: func() {
				if err := e.Stop(); err != nil {
					t.Fatal(err)
				}
				if err := e.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// onShared runs a test of what two servers rely on that share a backend.
func onShared(t *testing.T, test func(t *testing.T, clients [2]*clientv3.Client)) {
	t.Helper()
	t.Run("MariaDB", func(t *testing.T) {
		servers := serveTwo(t)
		test(t, [2]*clientv3.Client{client(t, servers[0]), client(t, servers[1])})
	})
	t.Run("etcd", func(t *testing.T) {
		e := harness.RunEtcd(t, harness.EtcdOptions{})
		test(t, [2]*clientv3.Client{etcdClient(t, e), etcdClient(t, e)})
	})
}

func etcdClient(t *testing.T, e *harness.Etcd) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
