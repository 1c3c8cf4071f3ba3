package atrest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/cellfed/cellfed/test/harness"
)

// canaries are planted values, by what each is.
type canaries map[string]string

// traces are what a value looks like where it must not be: itself, and the part of its base64 form that does not hang on what
// stands before and after it.
func traces(value string) [][]byte {
	found := [][]byte{[]byte(value)}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))
		found = append(found, []byte(encoded[4:len(encoded)-4]))
	}
	return found
}

// seek reports every canary that is found in what was looked through.
func (c canaries) seek(t *testing.T, where string, data []byte) {
	t.Helper()
	for what, value := range c {
		for _, trace := range traces(value) {
			if i := bytes.Index(data, trace); i >= 0 {
				t.Errorf("the %s is in %s: …%q…", what, where, data[max(0, i-200):min(len(data), i+len(trace)+50)])
				break
			}
		}
	}
}

const federatedSecrets = `apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {name: secrets, namespace: kube-federation-system}
spec:
  propagation: Enabled
  targetType: {version: v1, kind: Secret, pluralName: secrets, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedSecret, pluralName: federatedsecrets, scope: Namespaced}
---
apiVersion: v1
kind: Namespace
metadata: {name: tenant}
---
apiVersion: topology.cellfed.io/v1alpha1
kind: Unit
metadata: {namespace: tenant, name: a}
spec: {cluster: real}
`

func federatedSecret(value string) string {
	return `apiVersion: types.kubefed.io/v2beta1
kind: FederatedSecret
metadata: {namespace: tenant, name: login}
spec:
  topologyType: cell
  placement: {topologies: [{name: a}]}
  template: {stringData: {password: ` + value + `}}
`
}

func manifest(namespace, name, key, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {namespace: %s, name: %s}\nstringData: {%s: %q}\n", namespace, name, key, value)
}

func joined(name, endpoint string) string {
	return fmt.Sprintf("---\napiVersion: core.kubefed.io/v1beta1\nkind: KubeFedCluster\nmetadata: {name: %s, namespace: kube-federation-system}\n"+
		"spec: {apiEndpoint: %q, disabledTLSValidations: ['*'], secretRef: {name: %s}}\n", name, endpoint, name)
}

// life is a plane in which everything happens to secrets that can.
type life struct {
	*testing.T
	plane *harness.Plane
}

func (l *life) kubectl(stdin string, args ...string) string {
	l.Helper()
	out, err := harness.Kubectl(l.Context(), l.plane.Kubeconfig, stdin, args...)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

// refused runs kubectl with what the plane must not accept, and returns what it said.
func (l *life) refused(stdin string, args ...string) string {
	l.Helper()
	_, err := harness.Kubectl(l.Context(), l.plane.Kubeconfig, stdin, args...)
	if err == nil {
		l.Errorf("kubectl %v was accepted", args)
		return ""
	}
	return err.Error()
}

func TestNoSecretIsFoundWhereItShouldNotBe(t *testing.T) {
	t.Parallel()
	members := harness.Members(t, 1)
	l := &life{t, harness.RunPlane(t, harness.PlaneOptions{Args: []string{"--v=9"}})}
	c := client(t, l.plane)
	planted := canaries{}
	// Long enough for its base64 form to be found, and like no word of the product.
	plant := func(what string) string {
		planted[what] = "canary" + strings.NewReplacer(" ", "", "'", "").Replace(what) + "Zq7Xw3Kp9vTn2Lm8"
		return planted[what]
	}
	l.federate(members.Members[0], planted, plant)
	l.misjoin(plant)
	l.work(plant)
	const plain = "a-config-anybody-may-find-88d1"
	l.kubectl("", "create", "configmap", "plain", "-n", "default", "--from-literal=k="+plain)
	time.Sleep(5 * time.Second) // health checks, retries and events go on

	l.surface(c, planted)
	if _, _, err := l.plane.Stop(); err != nil {
		t.Fatal(err)
	}
	found := l.files(planted, plain)
	if !found {
		t.Error("the configmap is not found in the database: the scan is blind")
	}
	log, err := os.ReadFile(l.plane.Log)
	if err != nil {
		t.Fatal(err)
	}
	planted.seek(t, "the log", log)
	if !bytes.Contains(log, []byte("curl -v")) {
		t.Error("the log is not at its highest verbosity")
	}
	t.Logf("%d planted values, %d MiB of log", len(planted), len(log)>>20)
}

// federate joins a real member, whose credentials are secrets too, and has a federated secret brought there, twice.
func (l *life) federate(member *harness.Member, planted canaries, plant func(string) string) {
	l.kubectl("", "cellfed", "join", "real", "--member-kubeconfig", member.Kubeconfig)
	var secrets struct {
		Items []struct{ Data map[string][]byte }
	}
	if err := json.Unmarshal([]byte(l.kubectl("", "get", "secrets", "-n", "kube-federation-system", "-o", "json")), &secrets); err != nil {
		l.Fatal(err)
	}
	for _, s := range secrets.Items {
		if token := string(s.Data["token"]); token != "" {
			planted["member's token"] = token
		}
	}
	if planted["member's token"] == "" {
		l.Fatal("the member's token is not found")
	}
	l.kubectl(federatedSecrets, "apply", "-f", "-")
	l.kubectl("", "wait", "--for=condition=Served", "ftc/secrets", "-n", "kube-federation-system", "--timeout=60s")
	l.kubectl("", "wait", "--for=condition=Ready", "units/a", "-n", "tenant", "--timeout=60s")
	for _, what := range []string{"federated password", "second federated password"} {
		l.kubectl(federatedSecret(plant(what)), "apply", "-f", "-")
		l.kubectl("", "wait", "--for=condition=Propagation", "federatedsecrets/login", "-n", "tenant", "--timeout=60s")
	}
	inside, err := kubernetes.NewForConfig(member.Config)
	if err != nil {
		l.Fatal(err)
	}
	eventually(l.T, harnessTimeout, func(ctx context.Context) error {
		s, err := inside.CoreV1().Secrets("tenant").Get(ctx, "login", metav1.GetOptions{})
		if err == nil && string(s.Data["password"]) != planted["second federated password"] {
			err = fmt.Errorf("the member has %q", s.Data)
		}
		return err
	})
}

// misjoin joins members whose credentials are refused, or cannot be read.
func (l *life) misjoin(plant func(string) string) {
	gate := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	l.Cleanup(gate.Close)
	const ns = "kube-federation-system"
	l.kubectl(manifest(ns, "refused", "token", plant("refused token"))+joined("refused", gate.URL), "apply", "-f", "-")
	l.kubectl(manifest(ns, "two-lines", "token", plant("token of two lines")+"\nmore")+joined("two-lines", gate.URL), "apply", "-f", "-")
	l.kubectl(manifest(ns, "no-yaml", "kubeconfig", "clusters: "+plant("kubeconfig that is no YAML")+"\n")+joined("no-yaml", gate.URL), "apply", "-f", "-")
	l.kubectl(manifest(ns, "no-kubeconfig", "kubeconfig", "{\"users\": {\"a\": {"+plant("kubeconfig that is cut"))+joined("no-kubeconfig", gate.URL), "apply", "-f", "-")
	l.kubectl(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {namespace: %s, name: no-key}\nstringData: {tls.crt: x, tls.key: %q}\n", ns, plant("client key"))+joined("no-key", gate.URL), "apply", "-f", "-")
	eventually(l.T, harnessTimeout, func(context.Context) error {
		out := l.kubectl("", "get", "kubefedclusters", "-n", ns, "-o", "json")
		if n := strings.Count(out, `"ConfigMalformed"`) + strings.Count(out, "Unauthorized"); n < 2 {
			return fmt.Errorf("the members are\n%s", out)
		}
		return nil
	})
}

// work does to secrets what users do, right and wrong.
func (l *life) work(plant func(string) string) {
	apply := []string{"apply", "-f", "-"}
	l.kubectl(manifest("tenant", "db", "password", plant("password")), apply...)
	l.kubectl(manifest("tenant", "db", "password", plant("applied password")), apply...)
	l.kubectl(manifest("tenant", "db", "password", plant("password of server-side apply")), "apply", "--server-side", "--force-conflicts", "-f", "-")
	l.kubectl("", "patch", "secret", "db", "-n", "tenant", "--type=merge", "-p", `{"stringData":{"password":"`+plant("patched password")+`"}}`)
	l.kubectl("", "patch", "secret", "db", "-n", "tenant", "--type=json", "-p", `[{"op":"add","path":"/stringData","value":{"x":"`+plant("password of a JSON patch")+`"}}]`)
	l.kubectl(manifest("tenant", "db", "password", plant("replaced password")), "replace", "-f", "-")
	l.kubectl(manifest("tenant", "gone", "password", plant("password of a deleted secret")), apply...)
	l.kubectl("", "delete", "secret", "gone", "-n", "tenant")
	for _, wrong := range []string{
		manifest("tenant", "No_Name", "password", plant("password of a bad name")),
		manifest("nowhere", "db", "password", plant("password without a namespace")),
		manifest("tenant", "db2", "no key", plant("password of a bad key")),
	} {
		l.refused(wrong, apply...)
	}
	l.refused("", "patch", "secret", "db", "-n", "tenant", "--type=merge", "-p", `{"type":"other","stringData":{"password":"`+plant("password of a refused patch")+`"}}`)
	l.refused(strings.Replace(federatedSecret(plant("password of a refused federated secret")), "name: a}", "name: B_}", 1), apply...)
	l.kubectl("", "create", "serviceaccount", "robot", "-n", "tenant")
	token := strings.TrimSpace(l.kubectl("", "create", "token", "robot", "-n", "tenant"))
	_, _ = harness.Kubectl(l.Context(), l.plane.Kubeconfig, "", "get", "secrets", "-n", "tenant", "--token="+token) // refused or not, the token is in a header
	l.kubectl("", "get", "secrets", "-A", "-o", "yaml")
}

// surface looks through all that the API shows to those who may not read secrets.
func (l *life) surface(c kubernetes.Interface, planted canaries) {
	for _, path := range []string{"/metrics", "/readyz?verbose", "/livez?verbose", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/api/v1/events", "/apis/events.k8s.io/v1/events"} {
		data, err := c.Discovery().RESTClient().Get().RequestURI(path).DoRaw(l.Context())
		if err != nil && !strings.HasPrefix(path, "/debug") {
			l.Errorf("%s: %v", path, err)
		}
		planted.seek(l.T, path, data)
	}
	any, err := dynamic.NewForConfig(l.plane.RestConfig())
	if err != nil {
		l.Fatal(err)
	}
	lists, err := c.Discovery().ServerPreferredResources()
	if err != nil {
		l.Fatal(err)
	}
	kinds := 0
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			l.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !strings.Contains(strings.Join(r.Verbs, " "), "list") {
				continue
			}
			objects, err := any.Resource(gv.WithResource(r.Name)).List(l.Context(), metav1.ListOptions{})
			if err != nil {
				l.Fatalf("listing %s: %v", r.Name, err)
			}
			kinds++
			for i := range objects.Items {
				planted.seek(l.T, r.Name+" "+objects.Items[i].GetName(), shown(l.T, r.Name, &objects.Items[i]))
			}
		}
	}
	l.Logf("%d kinds looked through", kinds)
}

// shown is what an object shows of secrets though it is not meant to: of those that hold secrets, their status and metadata
// without what kubectl apply itself puts there.
func shown(t *testing.T, resource string, o *unstructured.Unstructured) []byte {
	t.Helper()
	if resource == "secrets" || resource == "federatedsecrets" || resource == "revisions" {
		annotations := o.GetAnnotations()
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		o.SetAnnotations(annotations)
		o = &unstructured.Unstructured{Object: map[string]any{"metadata": o.Object["metadata"], "status": o.Object["status"]}}
	}
	data, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// files looks through the data directory, and tells whether it found what is no secret.
func (l *life) files(planted canaries, plain string) (found bool) {
	err := filepath.WalkDir(l.plane.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		planted.seek(l.T, path, data)
		found = found || bytes.Contains(data, []byte(plain))
		return err
	})
	if err != nil {
		l.Fatal(err)
	}
	return found
}
