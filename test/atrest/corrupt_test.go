package atrest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/test/harness"
)

// spoil flips a bit of what is stored of a secret, past the prefix.
func spoil(t *testing.T, p *harness.Plane, name string) {
	t.Helper()
	s, key := store(t, p), secretsPrefix+"default/"+name
	r, err := s.Get(t.Context(), key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("reading %s: %v", key, err)
	}
	value := append([]byte{}, r.Kvs[0].Value...)
	value[len(value)-3] ^= 1
	done, err := s.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", r.Kvs[0].ModRevision)).
		Then(clientv3.OpPut(key, string(value))).Else(clientv3.OpGet(key)).Commit()
	if err != nil || !done.Succeeded {
		t.Fatalf("spoiling %s: %v", key, err)
	}
}

func TestASecretThatCannotBeDecryptedHarmsOnlyWhatMustReadIt(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	c := client(t, p)
	create(t, c, "bad", "v")
	create(t, c, "good", "v")
	spoil(t, p, "bad")
	secrets := c.CoreV1().Secrets("default")

	check := func(t *testing.T) {
		ctx := t.Context()
		if _, err := secrets.Get(ctx, "bad", metav1.GetOptions{}); !apierrors.IsInternalError(err) && apierrors.ReasonForError(err) != metav1.StatusReasonStoreReadError {
			t.Errorf("reading it gives %v", err)
		}
		mustHold(t, c, "good", "v")
		good, err := secrets.Get(ctx, "good", metav1.GetOptions{})
		if err == nil {
			good.Annotations = map[string]string{"at": time.Now().String()}
			_, err = secrets.Update(ctx, good, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Errorf("writing another secret: %v", err)
		}
		if _, err := c.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("listing what is no secret: %v", err)
		}
		out, err := cellfed(t, "storage", "re-encrypt", "--data-dir="+p.DataDir)
		if err == nil || !strings.Contains(out, "bad") {
			t.Errorf("re-encrypting: %v, and does not name it:\n%s", err, out)
		}
		if err := secrets.Delete(ctx, "bad", metav1.DeleteOptions{}); err == nil {
			t.Error("it was deleted without a word of what that means")
		}
	}
	t.Run("while the plane runs", check)
	t.Run("after a restart", func(t *testing.T) {
		if _, _, err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		started := make(chan error, 1)
		go func() { started <- p.Start(t.Context()) }()
		eventually(t, harnessTimeout, func(ctx context.Context) error { return holds(ctx, c, "good", "v") })
		check(t)
		_, err := secrets.List(t.Context(), metav1.ListOptions{})
		t.Logf("listing secrets gives: %v", err)
		if err == nil {
			t.Error("a list without it was called complete")
		}
		// What the administrator can do.
		const path = "/api/v1/namespaces/default/secrets/bad?ignoreStoreReadErrorWithClusterBreakingPotential=true"
		if _, err := harness.Kubectl(t.Context(), p.Kubeconfig, "", "delete", "--raw", path); err != nil {
			t.Fatal(err)
		}
		took := eventually(t, harnessTimeout, func(ctx context.Context) error {
			list, err := secrets.List(ctx, metav1.ListOptions{})
			if err == nil && len(list.Items) != 1 {
				err = errors.New("the list is not complete")
			}
			return err
		})
		t.Logf("secrets are listed %s after it was deleted", took)
		if err := <-started; err != nil {
			t.Fatal(err)
		}
	})
}
