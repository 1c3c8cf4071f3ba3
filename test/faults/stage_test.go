package faults

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the log is read as it lies there
	"k8s.io/client-go/rest"
	_ "modernc.org/sqlite" // the same

	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/database"
	"github.com/cellfed/cellfed/test/mysqlproxy"
)

// space is where clients write.
const space = "faults"

// stage is the servers of one plane, and what is between them and their database.
type stage struct {
	*testing.T
	servers []*harness.Plane
	hosts   []string
	proxies []*mysqlproxy.Proxy // none before a file
	client  *http.Client        // knows the administrator, and all servers' authority
	// log reads the database's log; a file's only when no server has it.
	log func() ([]entry, error)

	compared int
}

// onMariaDB is a plane of n servers on a database of its own.
func onMariaDB(t *testing.T, n int, chance *rand.Rand) *stage {
	t.Helper()
	m := database.SharedMariaDB(t)
	name := m.Database(t)
	s := &stage{T: t, log: func() ([]entry, error) { return readLog(t.Context(), "mysql", m.DSN(name)) }}
	for range n {
		p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address(), Seed: chance.Uint64()})
		s.proxies = append(s.proxies, p)
		s.start("--storage=" + m.URLAt(p.Address(), name))
	}
	s.furnish()
	return s
}

// onSQLite is a plane on a file.
func onSQLite(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t}
	s.start()
	s.log = func() ([]entry, error) {
		if _, _, err := s.servers[0].Stop(); err != nil {
			return nil, err
		}
		return readLog(t.Context(), "sqlite", "file:"+filepath.Join(s.servers[0].DataDir, "state.db")+"?mode=ro")
	}
	s.furnish()
	return s
}

// start adds a server. From the second on they get the first one's keys.
func (s *stage) start(args ...string) {
	s.Helper()
	dir := filepath.Join(s.TempDir(), fmt.Sprint(len(s.servers)))
	if len(s.servers) > 0 {
		harness.HandKeys(s, s.servers[0].DataDir, dir)
	}
	p := harness.RunPlane(s, harness.PlaneOptions{DataDir: dir, Args: args, Env: []string{harness.CheckOften}})
	config := p.RestConfig()
	if len(s.servers) == 0 {
		var err error
		if s.client, err = rest.HTTPClientFor(config); err != nil {
			s.Fatal(err)
		}
	}
	s.servers, s.hosts = append(s.servers, p), append(s.hosts, config.Host)
}

// furnish makes what clients need.
func (s *stage) furnish() {
	s.Helper()
	for _, do := range []struct {
		stdin string
		args  []string
	}{
		{harness.FederatedConfigMaps, []string{"apply", "-f", "-"}},
		{"", []string{"create", "namespace", space}},
		{"", []string{"wait", "--for=condition=Served", "ftc/configmaps", "-n", "kube-federation-system", "--timeout=60s"}},
	} {
		if _, err := harness.Kubectl(s.Context(), s.servers[0].Kubeconfig, do.stdin, do.args...); err != nil {
			s.Fatal(err)
		}
	}
	for _, host := range s.hosts { // each server learns of the type by itself
		for _, r := range resources {
			for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
				code, _, err := s.ask(s.Context(), http.MethodGet, host+r.path, nil)
				if err == nil && code == http.StatusOK {
					break
				}
				if time.Since(began) > time.Minute {
					s.Fatalf("%s does not serve %s: %d, %v", host, r.path, code, err)
				}
			}
		}
	}
}

// kill ends a server as a crash does, after it was asked what its own comparison of caches and storage found.
func (s *stage) kill(n int) error {
	s.compare(n)
	if !s.servers[n].Running() {
		s.Errorf("server %d ended by itself", n)
	}
	return s.servers[n].Kill()
}

// compare reads how often a server compared its caches with the storage, and whether they differed.
func (s *stage) compare(n int) {
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
	defer cancel()
	found, err := s.servers[n].Comparisons(ctx)
	if err != nil {
		return // it is cut off from its database, perhaps
	}
	s.compared += found["success"]
	if found["failure"] > 0 {
		s.Errorf("server %d found that its caches differ from the storage: %v", n, found)
	}
}

// revive starts a server that was killed. The faults go on, so that its database may refuse it a few times. With a patience
// it is killed again when it is not ready by then, and revive tells so.
func (s *stage) revive(n int, patience time.Duration) (killed bool, err error) {
	const tries = 20
	for try := 1; ; try++ {
		ctx, cancel := s.Context(), context.CancelFunc(func() {})
		if patience > 0 {
			ctx, cancel = context.WithTimeout(ctx, patience)
		}
		err := s.servers[n].Start(ctx)
		cancel()
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, context.DeadlineExceeded) && patience > 0:
			return true, nil
		case try == tries || len(s.proxies) == 0 || s.Context().Err() != nil:
			return false, err
		}
		says := strings.Split(strings.TrimSpace(err.Error()), "\n")
		s.Logf("server %d did not start: %.400s", n, says[len(says)-1])
	}
}

// marked finds the marks in a value, as JSON or protobuf.
var marked = regexp.MustCompile(`mark-[0-9a-z]+-[0-9]+-end`)

// markOf is the mark that a value has. It is there many times; a value that is put together from two is nobody's.
func markOf(value []byte) string {
	all := marked.FindAll(value, -1)
	if len(all) == 0 {
		return ""
	}
	for _, m := range all {
		if string(m) != string(all[0]) {
			return fmt.Sprintf("%s and %s", all[0], m)
		}
	}
	return string(all[0])
}

// readLog reads the log as it lies in the database.
func readLog(ctx context.Context, driver, dsn string) (entries []entry, err error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, `SELECT revision, create_revision, previous, name, deleted, value FROM entries ORDER BY revision`)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	for rows.Next() {
		var e entry
		var value []byte
		if err := rows.Scan(&e.revision, &e.created, &e.previous, &e.key, &e.deleted, &value); err != nil {
			return nil, err
		}
		if e.deleted {
			value = nil
		}
		e.mark, e.doomed = markOf(value), strings.Contains(string(value), `"deletionTimestamp"`)
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

// resource is a kind of objects that clients use.
type resource struct {
	path, prefix string
	body         func(name, mark string) map[string]any
	// data is where the mark stands.
	data []string
}

// federatedPrefix begins the keys of objects that controllers write, too.
const federatedPrefix = "/registry/types.kubefed.io/federatedconfigmaps/" + space + "/"

// ownerOf says who writes a key.
func ownerOf(key string) owner {
	switch {
	case strings.HasPrefix(key, federatedPrefix):
		return both
	case strings.HasPrefix(key, resources[0].prefix):
		return clients
	}
	return others
}

// resources are a built-in kind, and a federated one in both of its forms.
var resources = []*resource{
	{
		path: "/api/v1/namespaces/" + space + "/configmaps", prefix: "/registry/configmaps/" + space + "/", data: []string{"data"},
		body: func(name, mark string) map[string]any {
			return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "data": marks(mark)}
		},
	},
	federatedResource("v1beta1", "clusters"),
	federatedResource("v2beta1", "topologies"),
}

func federatedResource(version, places string) *resource {
	return &resource{
		path: "/apis/types.kubefed.io/" + version + "/namespaces/" + space + "/federatedconfigmaps", prefix: federatedPrefix,
		data: []string{"spec", "template", "data"},
		body: func(name, mark string) map[string]any {
			return map[string]any{
				"apiVersion": "types.kubefed.io/" + version, "kind": "FederatedConfigMap", "metadata": map[string]any{"name": name},
				"spec": map[string]any{"placement": map[string]any{places: []any{}}, "template": map[string]any{"data": marks(mark)}},
			}
		},
	}
}

// marks are a value's content: the mark, many times.
func marks(mark string) map[string]any {
	return map[string]any{"a": mark, "much": strings.Repeat(mark+" ", 20+len(mark)%7*10), "z": mark}
}

// setMark changes an object's content.
func (r *resource) setMark(object map[string]any, mark string) {
	at := object
	for _, field := range r.data[:len(r.data)-1] {
		at, _ = at[field].(map[string]any)
	}
	at[r.data[len(r.data)-1]] = marks(mark)
}

// shown is an object as an answer shows it.
func (r *resource) shown(raw []byte) (seen, error) {
	var o struct{ Metadata objectMeta }
	if err := json.Unmarshal(raw, &o); err != nil {
		return seen{}, err
	}
	var revision int64
	if _, err := fmt.Sscan(o.Metadata.ResourceVersion, &revision); err != nil {
		return seen{}, fmt.Errorf("resourceVersion %q: %w", o.Metadata.ResourceVersion, err)
	}
	key := ""
	if o.Metadata.Name != "" {
		key = r.prefix + o.Metadata.Name
	}
	return seen{key, markOf(raw), revision}, nil
}

type objectMeta struct {
	Name, ResourceVersion, Continue string
	DeletionTimestamp               *string
	Annotations                     map[string]string
}
