package ha

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/test/harness/database"
)

func TestMain(m *testing.M) { os.Exit(database.Main(m)) }

// storages are the kinds of storage that several servers can share. Each gives a test one of its own, as the URL that
// --storage takes.
var storages = map[string]func(t *testing.T) string{
	"MariaDB": func(t *testing.T) string {
		m := database.SharedMariaDB(t)
		return m.URL(m.Database(t))
	},
	"etcd": func(t *testing.T) string {
		_, address, _ := strings.Cut(database.SharedEtcd(t).Endpoint, "://")
		return "etcd://" + address + "/" + filepath.Base(t.TempDir()) + strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())
	},
}

// onEach runs a test on each storage.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for name, url := range storages {
		t.Run(name, func(t *testing.T) { test(t, url(t)) })
	}
}
