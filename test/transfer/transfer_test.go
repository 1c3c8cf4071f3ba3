package transfer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/database"
)

func TestMain(m *testing.M) { os.Exit(database.Main(m)) }

// cellfed runs the built binary and gives what it said on standard output, and on standard error.
func cellfed(ctx context.Context, args ...string) (string, string, error) {
	binary, err := harness.Binary("cellfed")
	if err != nil {
		return "", "", err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := cellfed(t.Context(), args...)
	if err != nil {
		t.Fatalf("cellfed %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

func clients(t *testing.T, p *harness.Plane) (kubernetes.Interface, dynamic.Interface) {
	t.Helper()
	c, err := kubernetes.NewForConfig(p.RestConfig())
	if err != nil {
		t.Fatal(err)
	}
	d, err := harness.Unbound(p.RestConfig())
	if err != nil {
		t.Fatal(err)
	}
	return c, d
}

// settle fills a plane with what an estate has: a tenant's namespace, members, cells, a federated type and an object of
// it, secrets, and plenty of small things.
func settle(t *testing.T, p *harness.Plane) {
	t.Helper()
	for _, sample := range []string{"00-namespace", "10-ftc-configmaps", "20-kubefedclusters", "30-units", "41-federatedconfigmap"} {
		eventually(t, func(ctx context.Context) error { // the federated type's CRD takes a moment
			_, err := harness.Kubectl(ctx, p.Kubeconfig, "", "apply", "-f", filepath.Join("../../config/samples", sample+".yaml"))
			return err
		})
	}
	c, _ := clients(t, p)
	for n := range 50 {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("secret-%d", n)}, Data: map[string][]byte{"k": bytes.Repeat([]byte{byte(n)}, 50*n)}}
		if _, err := c.CoreV1().Secrets("acme-prod").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, try func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("after a minute: %v", last)
	}
}

// writer writes until it is stopped, and counts.
type writer struct {
	written atomic.Int64
	stop    func()
}

func write(t *testing.T, p *harness.Plane) *writer {
	t.Helper()
	c, _ := clients(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	w := &writer{stop: func() { cancel(); wait.Wait() }}
	t.Cleanup(w.stop)
	for n := range 4 {
		wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("written-%d-%d", n, i)}, Data: map[string]string{"k": strings.Repeat("v", 500)}}
				if _, err := c.CoreV1().ConfigMaps("acme-prod").Create(ctx, o, metav1.CreateOptions{}); err != nil && ctx.Err() == nil {
					t.Errorf("a write during the backup: %v", err)
					return
				}
				w.written.Add(1)
			}
		})
	}
	return w
}

func (w *writer) more(t *testing.T, n int64) {
	t.Helper()
	for until := w.written.Load() + n; w.written.Load() < until && !t.Failed(); {
		time.Sleep(5 * time.Millisecond)
	}
}

// compared are the types whose objects are compared, and whether the plane's controllers write to them by themselves.
var compared = map[schema.GroupVersionResource]bool{
	{Version: "v1", Resource: "namespaces"}:                                               false,
	{Version: "v1", Resource: "configmaps"}:                                               false,
	{Version: "v1", Resource: "secrets"}:                                                  false,
	{Version: "v1", Resource: "serviceaccounts"}:                                          false,
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}:         false,
	{Group: "core.kubefed.io", Version: "v1beta1", Resource: "federatedtypeconfigs"}:      true,
	{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedclusters"}:           true,
	{Group: "topology.cellfed.io", Version: "v1alpha1", Resource: "units"}:                true,
	{Group: "types.kubefed.io", Version: "v2beta1", Resource: "federatedconfigmaps"}:      true,
	{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}: true,
}

// everything lists the compared objects at a revision, "" = now.
func everything(t *testing.T, p *harness.Plane, revision string) map[string]map[string]any {
	t.Helper()
	_, d := clients(t, p)
	all := map[string]map[string]any{}
	for resource, alive := range compared {
		options := metav1.ListOptions{}
		if revision != "" {
			options = metav1.ListOptions{ResourceVersion: revision, ResourceVersionMatch: metav1.ResourceVersionMatchExact}
		}
		list, err := d.Resource(resource).List(t.Context(), options)
		if err != nil {
			t.Fatalf("listing %s at %q: %v", resource, revision, err)
		}
		for _, o := range list.Items {
			if name := o.GetName(); name == wellknown.TunnelServersConfigMap || name == wellknown.TunnelPeersConfigMap {
				continue // each server writes its own address into it
			}
			unstructured.RemoveNestedField(o.Object, "metadata", "resourceVersion")
			if alive {
				unstructured.RemoveNestedField(o.Object, "metadata", "managedFields")
				delete(o.Object, "status")
			}
			all[resource.Resource+" "+o.GetNamespace()+"/"+o.GetName()] = o.Object
		}
	}
	return all
}

var saidRevision = regexp.MustCompile(`of revision (\d+)`)

// backUp backs a plane up while it is written, and gives the file and what it must hold.
func backUp(t *testing.T, p *harness.Plane) (file, revision string, want map[string]map[string]any) {
	t.Helper()
	writing := write(t, p)
	writing.more(t, 20)
	file = filepath.Join(t.TempDir(), "plane.backup")
	said := must(t, "storage", "backup", "--data-dir", p.DataDir, "--out", file)
	writing.more(t, 20)
	match := saidRevision.FindStringSubmatch(said)
	if match == nil {
		t.Fatalf("the backup says %q", said)
	}
	want = everything(t, p, match[1])
	writing.stop()
	return file, match[1], want
}

// keysOf copies what a plane's secrets and certificates are made with into a new data directory.
func keysOf(t *testing.T, p *harness.Plane) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(p.DataDir, "pki"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAPlaneThatWasBackedUpWhileItWasWrittenStartsElsewhereWithEveryObject(t *testing.T) {
	first := harness.RunPlane(t, harness.PlaneOptions{})
	settle(t, first)
	file, revision, want := backUp(t, first)

	mariadb := func() string {
		server := database.SharedMariaDB(t)
		return server.URL(server.Database(t))
	}
	etcd := func() string {
		return "etcd" + strings.TrimPrefix(database.RunEtcd(t, database.EtcdOptions{}).Endpoint, "http")
	}
	for name, storage := range map[string]func() string{"SQLite": func() string { return "" }, "MariaDB": mariadb, "etcd": etcd} {
		t.Run("on "+name, func(t *testing.T) {
			dir := keysOf(t, first)
			options := harness.PlaneOptions{DataDir: dir}
			if endpoint := storage(); endpoint != "" {
				must(t, "storage", "restore", "--in", file, "--to", endpoint)
				options.Args = []string{"--storage=" + endpoint}
			} else {
				must(t, "storage", "restore", "--in", file, "--data-dir", dir)
			}
			second := harness.RunPlane(t, options)
			got := everything(t, second, "")
			for key, object := range want {
				if diff := cmp.Diff(object, got[key]); diff != "" {
					t.Errorf("%s is not what it was:\n%s", key, diff)
				}
			}
			for key := range got {
				if _, there := want[key]; !there && strings.HasPrefix(key, "configmaps acme-prod/written") {
					t.Errorf("%s was made after the backup", key)
				}
			}
			t.Logf("%d objects of revision %s compared", len(want), revision)
			mustListAnew(t, second, revision)
		})
	}
}

// mustListAnew asks as a client does that knows the plane as it was at the backup.
func mustListAnew(t *testing.T, p *harness.Plane, revision string) {
	t.Helper()
	c, _ := clients(t, p)
	w, err := c.CoreV1().ConfigMaps("acme-prod").Watch(t.Context(), metav1.ListOptions{ResourceVersion: revision})
	if err == nil {
		defer w.Stop()
		select {
		case event := <-w.ResultChan():
			err = apierrors.FromObject(event.Object)
		case <-time.After(20 * time.Second):
			err = fmt.Errorf("silence")
		}
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("a client that goes on from the backup's revision is answered %v, want that it is too old", err)
	}
}

func TestAPlaneDoesNotStartOnAKilledRestoreAndDoesOnTheNext(t *testing.T) {
	first := harness.RunPlane(t, harness.PlaneOptions{})
	settle(t, first)
	file, _, want := backUp(t, first)
	dir := keysOf(t, first)
	killed := false
	for delay := 400 * time.Millisecond; !killed && delay > time.Millisecond; delay = delay * 2 / 3 {
		if err := os.RemoveAll(filepath.Join(dir, "state.db")); err != nil {
			t.Fatal(err)
		}
		killed = restoreKilledAfter(t, file, dir, delay)
	}
	if !killed {
		t.Fatal("no restore could be killed in the middle")
	}
	if p, err := harness.StartPlane(t.Context(), harness.PlaneOptions{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "half restored") {
		if err == nil {
			_ = p.Close()
		}
		t.Fatalf("a plane on half a restore: %v", err)
	}
	must(t, "storage", "restore", "--in", file, "--data-dir", dir)
	got := everything(t, harness.RunPlane(t, harness.PlaneOptions{DataDir: dir}), "")
	for key, object := range want {
		if diff := cmp.Diff(object, got[key]); diff != "" {
			t.Errorf("%s is not what it was:\n%s", key, diff)
		}
	}
}

// restoreKilledAfter begins a restore, kills it some time after its database appeared, and tells whether it was still at it.
func restoreKilledAfter(t *testing.T, file, dir string, delay time.Duration) bool {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	ended := make(chan error, 1)
	go func() {
		_, _, err := cellfed(ctx, "storage", "restore", "--in", file, "--data-dir", dir)
		ended <- err
	}()
	for {
		if _, err := os.Stat(filepath.Join(dir, "state.db")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(delay)
	kill() // SIGKILL
	if err := <-ended; err == nil {
		return false
	}
	_, said, err := cellfed(t.Context(), "storage", "backup", "--data-dir", dir, "--out", filepath.Join(t.TempDir(), "none"))
	return err != nil && strings.Contains(said, "half restored")
}

func TestExportedKeysMayComeBeforeOrAfterARestoreAndOthersAreNotServedWith(t *testing.T) {
	first, other := harness.RunPlane(t, harness.PlaneOptions{}), harness.RunPlane(t, harness.PlaneOptions{})
	c, _ := clients(t, first)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "v"}}
	if _, err := c.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	backup, keys := filepath.Join(t.TempDir(), "plane.backup"), filepath.Join(t.TempDir(), "plane.keys")
	must(t, "storage", "backup", "--data-dir", first.DataDir, "--out", backup)
	must(t, "keys", "export", "--data-dir", first.DataDir, "--out", keys)
	restore := func(dir string) { must(t, "storage", "restore", "--in", backup, "--data-dir", dir) }
	bring := func(dir string) { must(t, "keys", "import", "--in", keys, "--data-dir", dir) }
	for name, steps := range map[string][]func(string){"before": {bring, restore}, "after": {restore, bring}, "after, twice": {restore, bring, bring}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, step := range steps {
				step(dir)
			}
			c, _ := clients(t, harness.RunPlane(t, harness.PlaneOptions{DataDir: dir}))
			if s, err := c.CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{}); err != nil || string(s.Data["k"]) != "v" {
				t.Errorf("the secret is %v, %v", s, err)
			}
		})
	}
	t.Run("of another plane", func(t *testing.T) {
		dir, others := t.TempDir(), filepath.Join(t.TempDir(), "other.keys")
		must(t, "keys", "export", "--data-dir", other.DataDir, "--out", others)
		restore(dir)
		must(t, "keys", "import", "--in", others, "--data-dir", dir)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that is not refused would run for ever
		defer cancel()
		_, said, err := cellfed(ctx, "server", "--data-dir", dir, "--secure-port=0", "--bind-address=127.0.0.1")
		if err == nil || ctx.Err() != nil || !strings.Contains(said, "keys are not those of the plane in the database") {
			t.Errorf("a server with other keys ended with %v:\n%s", err, said)
		}
		// The way out that the refusal of the right keys tells.
		if _, said, err := cellfed(t.Context(), "keys", "import", "--in", keys, "--data-dir", dir); err == nil || !strings.Contains(said, "pki away and import again") {
			t.Errorf("the right keys over others: %v\n%s", err, said)
		}
		if err := os.Rename(filepath.Join(dir, "pki"), filepath.Join(dir, "pki.other")); err != nil {
			t.Fatal(err)
		}
		bring(dir)
		c, _ := clients(t, harness.RunPlane(t, harness.PlaneOptions{DataDir: dir}))
		if _, err := c.CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}
