package atrest

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/cellfed/cellfed/test/harness"
)

func TestReencryptingIsDoneBesideWritersAndAfterItWasCutShort(t *testing.T) {
	t.Parallel()
	const count, writers = 600, 4
	p := harness.RunPlane(t, harness.PlaneOptions{})
	c := client(t, p)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := w; i < count; i += writers {
				if _, err := c.CoreV1().Secrets("default").Create(t.Context(), secret(fmt.Sprint("s-", i), "0"), metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	out, err := cellfed(t, "storage", "rotate-key", "--data-dir="+p.DataDir)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key := "k8s:enc:secretbox:v1:" + strings.Fields(out)[2] + ":"
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Each writer has secrets of its own, and remembers what was acknowledged.
	ctx, stop := context.WithCancel(t.Context())
	last := make([]map[string]string, writers)
	for w := range writers {
		last[w] = map[string]string{}
		group.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				name := fmt.Sprint("s-", w+writers*rand.Intn(count/writers))
				patch := fmt.Sprintf(`{"stringData":{"k":"%d"}}`, n)
				if _, err := c.CoreV1().Secrets("default").Patch(t.Context(), name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
					t.Errorf("a writer: %v", err)
				}
				last[w][name] = fmt.Sprint(n)
			}
		})
	}
	cutShort(t, p, key, count)
	begun := time.Now()
	reencrypt(t, p, fmt.Sprintf(`verified: all %d objects`, count+1)) // one is the plane's own
	t.Logf("the rest took %s beside %d writers", time.Since(begun).Round(10*time.Millisecond), writers)
	stop()
	group.Wait()

	allEncrypted(t, p, key, "")
	writes := 0
	for _, acknowledged := range last {
		for name, value := range acknowledged {
			mustHold(t, c, name, value)
			writes++
		}
	}
	if writes < 10 {
		t.Errorf("only %d secrets were written beside", writes)
	}
}

// cutShort kills re-encrypt as soon as it has done something, and wants something left.
func cutShort(t *testing.T, p *harness.Plane, key string, count int) {
	t.Helper()
	binary, err := harness.Binary("cellfed")
	if err != nil {
		t.Fatal(err)
	}
	done := func() (n int) {
		for _, value := range stored(t, p, secretsPrefix) {
			if strings.HasPrefix(string(value), key) {
				n++
			}
		}
		return n
	}
	before := done()
	cmd := exec.CommandContext(t.Context(), binary, "storage", "re-encrypt", "--data-dir="+p.DataDir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, harnessTimeout, func(context.Context) error {
		if n := done(); n < before+50 {
			return fmt.Errorf("%d of %d are done", n, count)
		}
		return nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if n := done(); n == count {
		t.Log("it was done before it could be killed")
	} else {
		t.Logf("%d of %d were done when it was killed", n, count)
	}
}
