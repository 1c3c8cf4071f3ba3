package atrest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cellfed/cellfed/test/harness"
)

// makeFormer has a data directory encrypt secrets alone, as one that an earlier version made.
func makeFormer(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "pki", "encryption.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fewer := regexp.MustCompile(`(?m)^ *- (federatedsecrets|revisions)\..*\n`).ReplaceAll(data, nil)
	if bytes.Equal(fewer, data) {
		t.Fatal("the file has another layout")
	}
	if err := os.WriteFile(path, fewer, 0o600); err != nil {
		t.Fatal(err)
	}
}

const others = `apiVersion: types.kubefed.io/v2beta1
kind: FederatedSecret
metadata: {namespace: tenant, name: login}
spec:
  topologyType: cell
  placement: {topologies: []}
  template: {stringData: {password: canaryZq7Xw3Kp9vTn2Lm8}}
---
apiVersion: propagation.cellfed.io/v1alpha1
kind: Revision
metadata: {namespace: tenant, name: before}
spec: {of: {kind: FederatedSecret, name: login}, template: {stringData: {password: canaryZq7Xw3Kp9vTn2Lm8}}}
`

// otherKeys are where the objects of the manifest above are in the database.
var otherKeys = []string{"/registry/types.kubefed.io/federatedsecrets/tenant/login", "/registry/propagation.cellfed.io/revisions/tenant/before"}

// storedAs makes sure how the objects above begin in the database.
func storedAs(t *testing.T, p *harness.Plane, prefix string) {
	t.Helper()
	for _, key := range otherKeys {
		value := stored(t, p, key)[""]
		if !strings.HasPrefix(string(value), prefix) || bytes.Contains(value, []byte("canary")) != (prefix == "{") {
			t.Errorf("%s is stored as %q…, want %s", key, value[:min(60, len(value))], prefix)
		}
	}
}

func TestAFormerPlaneEncryptsAllThatANewOneDoesWhenItIsAsked(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kms   bool
		final string // what all begins with in the end
	}{
		"with a local key": {false, "k8s:enc:secretbox:v1:local-"},
		"with a KMS":       {true, "k8s:enc:kms:v2:vault:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := harness.PlaneOptions{DataDir: dataDir(t), Args: []string{"--controllers=*,-propagation"}} // nothing else than this test writes them
			if tc.kms {
				options.Config = startPlugin(t).config("vault")
			}
			p := harness.RunPlane(t, options)
			if _, _, err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			makeFormer(t, p.DataDir)
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			l := &life{t, p}
			types, _, _ := strings.Cut(federatedSecrets, "---\napiVersion: topology") // there is no member
			l.kubectl(types, "apply", "-f-")
			eventually(t, harnessTimeout, func(ctx context.Context) error {
				_, err := harness.Kubectl(ctx, p.Kubeconfig, others, "apply", "-f-") // the type is made first
				return err
			})
			storedAs(t, p, "{")
			readable := func() {
				t.Helper()
				for _, kind := range []string{"federatedsecrets", "revisions"} {
					if out := l.kubectl("", "get", kind, "-n", "tenant", "-o", "json"); !strings.Contains(out, "canaryZq7Xw3Kp9vTn2Lm8") {
						t.Errorf("%s are read as\n%s", kind, out)
					}
				}
			}

			out, err := cellfed(t, "storage", "re-encrypt", "--add-resources", "--data-dir="+p.DataDir)
			if err != nil || !strings.Contains(out, "federatedsecrets.types.kubefed.io, revisions.propagation.cellfed.io") || !strings.Contains(out, "restart the plane") {
				t.Fatalf("adding: %v\n%s", err, out)
			}
			if out, err := cellfed(t, "storage", "re-encrypt", "--prune", "--data-dir="+p.DataDir); err == nil || !strings.Contains(out, "restart it first") {
				t.Errorf("re-encrypting before the restart: %v\n%s", err, out)
			}
			if err := p.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			readable()
			storedAs(t, p, "{")
			out = reencrypt(t, p, "2 objects written anew", "--prune")
			if !strings.Contains(out, "taken away: plain text") || strings.Contains(out, "once more") != tc.kms {
				t.Errorf("it says\n%s", out)
			}
			readable()
			storedAs(t, p, "k8s:enc:secretbox:v1:local-")
			if err := p.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			readable()
			if tc.kms {
				if out := reencrypt(t, p, "2 objects written anew", "--prune"); !strings.Contains(out, "taken away: local key local-") {
					t.Errorf("it says\n%s", out)
				}
				if err := p.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				readable()
			}
			storedAs(t, p, tc.final)
			allEncrypted(t, p, tc.final, "")
			plainIsRefused(t, p)
			if out, err := cellfed(t, "storage", "re-encrypt", "--add-resources", "--data-dir="+p.DataDir); err != nil || !strings.Contains(out, "nothing to add") {
				t.Errorf("adding again: %v\n%s", err, out)
			}
		})
	}
}

// plainIsRefused plants plain text in the database, which nobody may read any more.
func plainIsRefused(t *testing.T, p *harness.Plane) {
	t.Helper()
	const planted = `{"apiVersion":"propagation.cellfed.io/v1alpha1","kind":"Revision","metadata":{"namespace":"tenant","name":"planted"},"spec":{"of":{"kind":"FederatedSecret","name":"x"},"template":{}}}`
	key := "/registry/propagation.cellfed.io/revisions/tenant/planted"
	done, err := store(t, p).Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, planted)).Commit()
	if err != nil || !done.Succeeded {
		t.Fatalf("planting: %v", err)
	}
	if out, err := harness.Kubectl(t.Context(), p.Kubeconfig, "", "get", "revision", "planted", "-n", "tenant"); err == nil {
		t.Errorf("plain text is read: %s", out)
	}
}
