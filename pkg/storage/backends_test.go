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

// onSQL runs a test on an empty database of each kind that this package's log
// lives in.
func onSQL(t *testing.T, test func(t *testing.T, endpoint string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, databaseIn(t.TempDir())) })
	t.Run("MariaDB", func(t *testing.T) { test(t, mariaDBEndpoint(t, harness.SharedMariaDB(t))) })
}

// onEvery runs a test of what an API server relies on, on every backend: etcd
// itself included, so that what the test demands is known to be true of etcd.
func onEvery(t *testing.T, test func(t *testing.T, c *clientv3.Client)) {
	t.Helper()
	onSQL(t, func(t *testing.T, endpoint string) { test(t, client(t, serve(t, endpoint))) })
	t.Run("etcd", func(t *testing.T) {
		e := harness.RunEtcd(t, harness.EtcdOptions{})
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		test(t, c)
	})
}
