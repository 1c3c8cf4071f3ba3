package atrest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
)

// harnessTimeout is what only a machine in trouble exceeds.
const harnessTimeout = 30 * time.Second

// outage is how long the plugin is dead. After three minutes the API server's library encrypts nothing more: that a write is
// then refused, with the cause, takes an outage of more, and is tested when one is asked for.
var outage = flag.Duration("kms.outage", 3*time.Second, "how long the KMS plugin is dead")

// coast is for how long the library encrypts without its plugin.
const coast = 3 * time.Minute

// ready tells whether the plane's check of its plugins is well.
func ready(ctx context.Context, c kubernetes.Interface) error {
	return c.Discovery().RESTClient().Get().AbsPath("/readyz/kms-providers").Do(ctx).Error()
}

// unready waits until the plane says of its plugin what is wrong.
func unready(t *testing.T, c kubernetes.Interface, want string) {
	t.Helper()
	// The API server's library looks at a key at most every twenty seconds while all is well.
	eventually(t, harnessTimeout, func(ctx context.Context) error {
		if err := ready(ctx, c); err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("readiness is %v, want %s", err, want)
		}
		return nil
	})
}

// back waits until all is well again, and tells how long that took.
func back(t *testing.T, c kubernetes.Interface, limit time.Duration) {
	t.Helper()
	took := eventually(t, limit, func(ctx context.Context) error { return ready(ctx, c) })
	t.Logf("well again after %s", took)
}

func TestAPlaneWithAKMS(t *testing.T) {
	t.Parallel()
	k := startPlugin(t)
	p := harness.RunPlane(t, harness.PlaneOptions{Config: k.config("vault")})
	c := client(t, p)
	for i := range 20 {
		create(t, c, fmt.Sprintf("early-%d", i), "v")
	}
	t.Run("encrypts every secret with it", func(t *testing.T) { allEncrypted(t, p, "k8s:enc:kms:v2:vault:", "first") })
	t.Run("lives on while it is dead, and goes on when it is back", func(t *testing.T) { testDead(t, k, c) })
	t.Run("lives on while it is slow", func(t *testing.T) { testSlow(t, k, c) })
	t.Run("lives on while it hangs", func(t *testing.T) { testHanging(t, k, c) })
	t.Run("says it when it is unwell", func(t *testing.T) {
		k.set(t, "fault", "unwell")
		unready(t, c, "the safe is locked")
		mustHold(t, c, "early-0", "v")
		k.set(t, "fault", "")
		back(t, c, 2*time.Second)
	})
	t.Run("does not take a key that is not the one it was told", func(t *testing.T) { testWrongKey(t, k, p, c) })
	t.Run("encrypts all anew with a new key", func(t *testing.T) { testNewKey(t, k, p, c) })
	t.Run("told its log once each time", func(t *testing.T) {
		data, err := os.ReadFile(p.Log)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(data), "The KMS plugin is not well"); n != strings.Count(string(data), "The KMS plugin is well again") || n > 6 {
			t.Errorf("the log has %d lines of illness:\n%s", n, data)
		}
		if strings.Contains(string(data), "createTransport") {
			t.Errorf("the log tells of every attempt:\n%s", data)
		}
	})
}

func testDead(t *testing.T, k *plugin, c kubernetes.Interface) {
	k.kill()
	unready(t, c, k.socket)
	mustHold(t, c, "early-0", "v")
	if _, err := c.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("listing secrets: %v", err)
	}
	create(t, c, "in-the-outage", "v") // the data key is still good
	time.Sleep(*outage)
	mustHold(t, c, "early-1", "v")
	if *outage > coast {
		_, err := c.CoreV1().Secrets("default").Create(t.Context(), secret("late", "v"), metav1.CreateOptions{})
		if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("a write after %s gives %v", *outage, err)
		}
		if _, err := c.CoreV1().Secrets("default").Get(t.Context(), "late", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the refused secret gives %v", err)
		}
	}
	k.start(t)
	back(t, c, 2*time.Second)
	create(t, c, "after-the-outage", "v")
	mustHold(t, c, "in-the-outage", "v")
}

func testSlow(t *testing.T, k *plugin, c kubernetes.Interface) {
	k.set(t, "delay", "5s")
	unready(t, c, "DeadlineExceeded")
	begun := time.Now()
	mustHold(t, c, "early-2", "v")
	create(t, c, "while-slow", "v")
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("a read and a write took %s", took)
	}
	k.set(t, "delay", "")
	back(t, c, 4*time.Second) // one question may still be under way
}

func testHanging(t *testing.T, k *plugin, c kubernetes.Interface) {
	k.signal(t, syscall.SIGSTOP)
	unready(t, c, "DeadlineExceeded")
	mustHold(t, c, "early-3", "v")
	create(t, c, "while-hanging", "v")
	k.signal(t, syscall.SIGCONT)
	back(t, c, 2*time.Second)
}

func testWrongKey(t *testing.T, k *plugin, p *harness.Plane, c kubernetes.Interface) {
	k.set(t, "fault", "wrong-key")
	k.set(t, "current", "other")
	unready(t, c, "failed to rotate")
	create(t, c, "while-wrong", "v")
	if value := stored(t, p, secretsPrefix)["default/while-wrong"]; !strings.Contains(string(value), "first") || strings.Contains(string(value), "wrong") {
		t.Errorf("the secret is stored as %q", value)
	}
	k.set(t, "current", "first")
	k.set(t, "fault", "")
	back(t, c, 5*time.Second)
}

func testNewKey(t *testing.T, k *plugin, p *harness.Plane, c kubernetes.Interface) {
	k.set(t, "current", "second")
	before := len(stored(t, p, secretsPrefix))
	reencrypt(t, p, fmt.Sprintf(`(?s)%d objects written anew.*verified: all %d objects are encrypted with KMS vault`, before, before))
	allEncrypted(t, p, "k8s:enc:kms:v2:vault:", "second")
	reencrypt(t, p, `(?s)^0 objects written anew.*verified`) // what is done is not done again
	// Nothing needs the old key, not even a process that has nothing in its cache.
	if err := os.Remove(filepath.Join(k.dir, "key-first")); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		mustHold(t, c, fmt.Sprintf("early-%d", i), "v")
	}
}
