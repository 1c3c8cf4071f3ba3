package atrest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
)

func client(t *testing.T, p *harness.Plane) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(p.RestConfig())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits until check returns nil, and tells how long that took.
func eventually(t *testing.T, limit time.Duration, check func(context.Context) error) time.Duration {
	t.Helper()
	begun := time.Now()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Errorf("after %s: %v", limit, last)
	}
	return time.Since(begun).Round(10 * time.Millisecond)
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"k": value}}
}

func create(t *testing.T, c kubernetes.Interface, name, value string) {
	t.Helper()
	if _, err := c.CoreV1().Secrets("default").Create(t.Context(), secret(name, value), metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating secret %s: %v", name, err)
	}
}

// holds tells why a secret does not have a value, read from the database and not from a cache.
func holds(ctx context.Context, c kubernetes.Interface, name, value string) error {
	s, err := c.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got := string(s.Data["k"]); got != value {
		return errors.New("secret " + name + " has the value " + got)
	}
	return nil
}

func mustHold(t *testing.T, c kubernetes.Interface, name, value string) {
	t.Helper()
	if err := holds(t.Context(), c, name, value); err != nil {
		t.Error(err)
	}
}

// store connects to the socket of a running plane's database.
func store(t *testing.T, p *harness.Plane) *clientv3.Client {
	t.Helper()
	socket := ""
	err := filepath.WalkDir(filepath.Join(p.DataDir, "run"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type()&fs.ModeSocket != 0 {
			socket = path
		}
		return err
	})
	if err != nil || socket == "" {
		t.Fatalf("the store has no socket: %v", err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + socket}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// stored are the values in the database below a prefix, by what comes after it.
func stored(t *testing.T, p *harness.Plane, prefix string) map[string][]byte {
	t.Helper()
	r, err := store(t, p).Get(t.Context(), prefix, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for _, kv := range r.Kvs {
		values[strings.TrimPrefix(string(kv.Key), prefix)] = kv.Value
	}
	return values
}

const secretsPrefix = "/registry/secrets/"

// allEncrypted makes sure that every secret in the database begins with a prefix, and has a mark in it.
func allEncrypted(t *testing.T, p *harness.Plane, prefix, mark string) {
	t.Helper()
	values := stored(t, p, secretsPrefix)
	if len(values) == 0 {
		t.Error("no secret is stored")
	}
	for name, value := range values {
		if !bytes.HasPrefix(value, []byte(prefix)) || !bytes.Contains(value, []byte(mark)) {
			t.Errorf("secret %s is stored as %q…, want %s with %s", name, value[:min(60, len(value))], prefix, mark)
		}
	}
}

// cellfed runs the built binary and returns what it wrote.
func cellfed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := harness.Binary("cellfed")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	return string(out), err
}

// reencrypt has a plane encrypt everything anew, and wants a verdict.
func reencrypt(t *testing.T, p *harness.Plane, verdict string, more ...string) string {
	t.Helper()
	out, err := cellfed(t, append([]string{"storage", "re-encrypt", "--data-dir=" + p.DataDir}, more...)...)
	if err != nil || !regexp.MustCompile(verdict).MatchString(out) {
		t.Errorf("re-encrypt: %v, want %s in\n%s", err, verdict, out)
	}
	return out
}

// dataDir is a directory with a short name, as sockets need, that is gone after the test.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cellfed-atrest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
