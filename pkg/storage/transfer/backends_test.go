package transfer

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/test/harness/database"
)

// backends make an empty database each and give its endpoint.
var backends = map[string]func(t *testing.T) string{
	"sqlite":  func(t *testing.T) string { return sqliteIn(t.TempDir()) },
	"mariadb": mariadb,
	"etcd":    etcd,
}

// sqliteIn gives the endpoint of a SQLite database in a directory.
func sqliteIn(dir string) string { return "sqlite://" + filepath.Join(dir, "state.db") }

func mariadb(t *testing.T) string {
	t.Helper()
	return databaseIn(t, database.SharedMariaDB(t))
}

// databaseIn makes a database in a MariaDB.
func databaseIn(t *testing.T, server *database.MariaDB) string {
	t.Helper()
	return server.URL(server.Database(t))
}

// etcd is one that wants a certificate.
func etcd(t *testing.T) string {
	t.Helper()
	e := database.RunEtcd(t, database.EtcdOptions{TLS: true})
	files := url.Values{"ca-file": {e.Certificates.CA}, "cert-file": {e.Certificates.ClientCert}, "key-file": {e.Certificates.ClientKey}}
	return "etcd" + strings.TrimPrefix(e.Endpoint, "https") + "?" + files.Encode()
}

// routes are the pairs between which the tests carry: each backend once as source and once as target, at least.
var routes = []struct{ from, to string }{{"sqlite", "sqlite"}, {"sqlite", "mariadb"}, {"mariadb", "sqlite"}, {"mariadb", "etcd"}, {"etcd", "sqlite"}, {"etcd", "etcd"}}
