package enrolment

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/test/harness"
)

// Each server of a plane that comes from a version before tunnels makes an authority by itself: only one may be the plane's.
func TestAServerWithAnotherAuthorityForAgentsThanThePlaneIsRefused(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	f := newFixture(t, harness.PlaneOptions{DataDir: data})
	record := func() map[string]string {
		t.Helper()
		config := must(t)(newAdmin(f.Plane))
		got, err := config.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "cellfed-keys", metav1.GetOptions{})
		noError(t, err)
		if len(got.Data) != 3 {
			t.Errorf("servers of former versions, which know three fingerprints, see %v", got.Data)
		}
		return got.Annotations
	}
	const annotation = "keys.cellfed.io/tunnel-ca"
	first := record()[annotation]
	if first == "" {
		t.Fatal("the plane's authority is not on record")
	}
	// As a former version left it.
	_, err := f.admin.CoreV1().ConfigMaps("kube-system").Patch(t.Context(), "cellfed-keys", "application/merge-patch+json",
		fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, annotation), metav1.PatchOptions{})
	noError(t, err)
	noError(t, f.Restart(t.Context()))
	if record()[annotation] != first {
		t.Error("the first server does not put its authority on record")
	}
	_, _, err = f.Stop()
	noError(t, err)
	for _, name := range []string{"tunnel-ca.crt", "tunnel-ca.key"} {
		noError(t, os.Rename(filepath.Join(data, "pki", name), filepath.Join(data, name)))
	}
	err = f.Start(t.Context()) // with an authority that it makes now
	if err == nil || !strings.Contains(err.Error(), "other tunnel-ca") || !strings.Contains(err.Error(), "keys export and import") {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"tunnel-ca.crt", "tunnel-ca.key"} {
		noError(t, os.Rename(filepath.Join(data, name), filepath.Join(data, "pki", name)))
	}
	noError(t, f.Start(t.Context()))
}
