package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
)

// writeUntilGone creates and updates configmaps until the plane is gone and
// returns, by name, the last content that was acknowledged.
func writeUntilGone(ctx context.Context, c kubernetes.Interface, writer int) map[string]string {
	maps := c.CoreV1().ConfigMaps("default")
	acknowledged := map[string]string{}
	for n := 0; ctx.Err() == nil; n++ {
		cm := configMap(fmt.Sprintf("w%d-%d", writer, n))
		cm, err := maps.Create(ctx, cm, metav1.CreateOptions{})
		if err != nil {
			return acknowledged
		}
		acknowledged[cm.Name] = cm.Data["k"]
		cm.Data["k"] = "second"
		if _, err := maps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
			// It may have been written all the same: no answer is no promise.
			acknowledged[cm.Name] = "either"
			return acknowledged
		}
		acknowledged[cm.Name] = "second"
	}
	return acknowledged
}

func TestAKilledPlaneHasLostNothingItAcknowledged(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	const writers, kills = 8, 2
	all := map[string]string{}
	for kill := range kills {
		c := client(t, p)
		var mu sync.Mutex
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				got := writeUntilGone(t.Context(), c, kill*writers+w)
				mu.Lock()
				defer mu.Unlock()
				for name, content := range got {
					all[name] = content
				}
			})
		}
		time.Sleep(time.Second)
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client(t, p).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]string{}
	for _, cm := range list.Items {
		stored[cm.Name] = cm.Data["k"]
	}
	if len(all) < writers*kills {
		t.Errorf("only %d writes were acknowledged, which proves little", len(all))
	}
	for name, want := range all {
		got, there := stored[name]
		if !there || want != "either" && got != want {
			t.Errorf("%s: %q was acknowledged, %q is stored (there: %v)", name, want, got, there)
		}
	}
	t.Logf("%d acknowledged objects over %d kills", len(all), kills)
}

func TestAPlaneEndsInTime(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	c := client(t, p)
	// Somebody watches and somebody writes, as ever.
	watch, err := c.CoreV1().ConfigMaps("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	written := make(chan map[string]string, 1)
	go func() { written <- writeUntilGone(t.Context(), c, 0) }()
	time.Sleep(500 * time.Millisecond)
	took, code, err := p.Stop()
	if err != nil || code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: %s, exit code %d, %v", took, code, err)
	}
	t.Logf("ended %s after SIGTERM", took)
	acknowledged := <-written
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name := range acknowledged {
		if _, err := client(t, p).CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("%s was acknowledged: %v", name, err)
		}
	}
}

func TestClientsGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	// Everything a client holds is from before: certificates, address, token.
	before := client(t, p)
	if _, err := before.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("kept"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func(ctx context.Context) error {
		_, err := before.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{})
		return err
	})
	_, err := before.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("kept"), metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		t.Errorf("creating it again gives %v", errors.Join(err))
	}
}

func TestAPlaneEndsInOrderWhileItStarts(t *testing.T) {
	t.Parallel()
	binary, err := harness.Binary("cellfed")
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{`"Starting"`, "Serving securely", "created", `"Ready"`} {
		t.Run(when, func(t *testing.T) {
			log := &firstLine{want: when, found: make(chan struct{})}
			cmd := exec.CommandContext(t.Context(), binary, "server", "--secure-port=0", "--data-dir="+t.TempDir(), "-v=2")
			cmd.Stderr = log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-log.found:
			case <-time.After(30 * time.Second):
				t.Error("it never came so far")
			}
			begun := time.Now()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			t.Logf("ended after %s", time.Since(begun))
		})
	}
}

// firstLine tells when a text was written for the first time.
type firstLine struct {
	want  string
	found chan struct{}
	seen  bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	if !f.seen && bytes.Contains(p, []byte(f.want)) {
		f.seen = true
		close(f.found)
	}
	return len(p), nil
}
