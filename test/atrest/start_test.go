package atrest

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/test/harness"
)

func TestAPlaneWhosePluginIsDownAtItsStartSaysSoAndGoesOnWhenItComes(t *testing.T) {
	t.Parallel()
	k := startPlugin(t)
	p := harness.RunPlane(t, harness.PlaneOptions{Config: k.config("vault")})
	c := client(t, p)
	create(t, c, "s", "v")
	if _, _, err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	k.kill()
	started := make(chan error, 1)
	go func() { started <- p.Start(t.Context()) }()
	eventually(t, harnessTimeout, func(context.Context) error {
		data, err := os.ReadFile(p.Log)
		if err == nil && !strings.Contains(string(data), "Start or mend it") {
			err = errors.New("the log does not say what to do")
		}
		return err
	})
	// Nothing is read or written in the clear, and the cause is told; what is no secret is served.
	eventually(t, harnessTimeout, func(ctx context.Context) error {
		_, err := c.CoreV1().Secrets("default").Get(ctx, "s", metav1.GetOptions{})
		if !apierrors.IsInternalError(err) {
			return errors.Join(errors.New("a secret is answered with"), err)
		}
		return nil
	})
	_, err := c.CoreV1().Secrets("default").Create(t.Context(), secret("new", "v"), metav1.CreateOptions{})
	if !apierrors.IsInternalError(err) {
		t.Errorf("a write gives %v", err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("configmaps: %v", err)
	}
	if err := ready(t.Context(), c); err == nil || !strings.Contains(err.Error(), k.socket) {
		t.Errorf("readiness is %v", err)
	}
	time.Sleep(4 * time.Second) // by then the API server's library waits ten seconds
	k.start(t)
	begun := time.Now()
	took := eventually(t, 2*time.Second, func(ctx context.Context) error { return holds(ctx, c, "s", "v") })
	t.Logf("the secret is read %s after the plugin is there", took)
	create(t, c, "new", "v")
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Logf("the plane is ready after %s", time.Since(begun))
}

func TestNothingBecomesUnreadableOnTheWay(t *testing.T) {
	t.Parallel()
	k := startPlugin(t)
	dir := dataDir(t)
	values := map[string]string{} // besides one of the plane's own
	// live runs a plane on the directory, writes a secret, and reads all that were written before.
	live := func(name, config string, during func(*testing.T, *harness.Plane)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := harness.RunPlane(t, harness.PlaneOptions{DataDir: dir, Config: config})
			c := client(t, p)
			for s, v := range values {
				mustHold(t, c, s, v)
			}
			secret := strings.ReplaceAll(name, " ", "-")
			create(t, c, secret, name)
			values[secret] = name
			if during != nil {
				during(t, p)
			}
		})
	}
	encrypted := func(t *testing.T, p *harness.Plane, name, prefix string) {
		t.Helper()
		if value := stored(t, p, secretsPrefix)["default/"+name]; !strings.HasPrefix(string(value), prefix) {
			t.Errorf("%s is stored as %q…, want %s", name, value[:min(60, len(value))], prefix)
		}
	}
	live("a local key", "", func(t *testing.T, p *harness.Plane) { encrypted(t, p, "a-local-key", "k8s:enc:secretbox:v1:local-") })
	live("a service", k.config("vault"), func(t *testing.T, p *harness.Plane) {
		encrypted(t, p, "a-service", "k8s:enc:kms:v2:vault:")
		encrypted(t, p, "a-local-key", "k8s:enc:secretbox:v1:local-")
		reencrypt(t, p, "verified: all 3 objects are encrypted with KMS vault")
		allEncrypted(t, p, "k8s:enc:kms:v2:vault:", "")
	})
	live("another service", k.config("chest"), func(t *testing.T, p *harness.Plane) { encrypted(t, p, "another-service", "k8s:enc:kms:v2:chest:") })
	live("the local key again", "", func(t *testing.T, p *harness.Plane) {
		encrypted(t, p, "the-local-key-again", "k8s:enc:secretbox:v1:local-")
	})
	newKey := ""
	live("a new key that is not used yet", "", func(t *testing.T, p *harness.Plane) {
		out, err := cellfed(t, "storage", "rotate-key", "--data-dir="+dir)
		if err != nil {
			t.Fatalf("rotating: %v\n%s", err, out)
		}
		newKey = strings.Fields(out)[2]
		// Without a restart everything would be encrypted with the old key, and that one then be pruned.
		if out, err := cellfed(t, "storage", "re-encrypt", "--prune", "--data-dir="+dir); err == nil || !strings.Contains(out, "restart it first") {
			t.Errorf("re-encrypting before the restart: %v\n%s", err, out)
		}
	})
	live("the new key", "", func(t *testing.T, p *harness.Plane) {
		encrypted(t, p, "the-new-key", "k8s:enc:secretbox:v1:"+newKey+":")
		out := reencrypt(t, p, "verified: all 7 objects are encrypted with local key "+newKey, "--prune")
		if !strings.Contains(out, "KMS vault") || !strings.Contains(out, "KMS chest") || !strings.Contains(out, "local key local-") {
			t.Errorf("pruning said\n%s", out)
		}
		allEncrypted(t, p, "k8s:enc:secretbox:v1:"+newKey+":", "")
	})
	k.kill()
	live("without all that was pruned", "", nil)
}
