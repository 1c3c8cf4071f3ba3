package plane

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// eventually waits until check returns nil.
func eventually(t *testing.T, limit time.Duration, check func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Errorf("after %s: %v", limit, last)
	}
}

// gone turns the answer to a GET into an error unless the object is gone.
func gone(what string, err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is still there", what)
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": name}}
}

func TestAPlane(t *testing.T) {
	t.Parallel()
	p := harness.RunPlane(t, harness.PlaneOptions{})
	c := client(t, p)
	t.Run("serves its health and metrics", func(t *testing.T) { testHealth(t, c) })
	t.Run("serves neither pods nor apps", func(t *testing.T) { testNoWorkloads(t, c) })
	t.Run("keeps no secret as plain text", func(t *testing.T) { testSecrets(t, p, c) })
	t.Run("finishes the deletion of a namespace", func(t *testing.T) { t.Parallel(); testNamespaceDeletion(t, c) })
	t.Run("collects what an owner leaves behind", func(t *testing.T) { t.Parallel(); testGarbageCollection(t, c) })
	t.Run("issues tokens that service accounts can use", func(t *testing.T) { testTokens(t, p, c) })
}

func testHealth(t *testing.T, c kubernetes.Interface) {
	for _, path := range []string{"/readyz", "/livez", "/metrics", "/version", "/openapi/v3"} {
		data, err := c.Discovery().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if err != nil || len(data) == 0 {
			t.Errorf("%s answers %q, %v", path, data, err)
		}
	}
	version, err := c.Discovery().ServerVersion()
	if err != nil || version.Major != "1" || !strings.HasPrefix(version.GitVersion, "v1."+version.Minor+".") {
		t.Errorf("the version is %+v, %v", version, err)
	}
}

func testNoWorkloads(t *testing.T, c kubernetes.Interface) {
	if _, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("listing pods gives %v", err)
	}
	if _, err := c.AppsV1().Deployments("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("listing deployments gives %v", err)
	}
}

func testSecrets(t *testing.T, p *harness.Plane, c kubernetes.Interface) {
	const mark = "a-secret-nobody-may-find-1c9a"
	ctx := t.Context()
	if _, err := c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"token": mark},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// What is not encrypted is found, or this test would prove nothing.
	const plain = "a-config-anybody-may-find-88d1"
	cm := configMap("plain")
	cm.Data["k"] = plain
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if !inDatabase(t, p, plain) {
		t.Error("the configmap is not found in the database files")
	}
	if inDatabase(t, p, mark) {
		t.Error("the secret stands in the database as plain text")
	}
	s, err := c.CoreV1().Secrets("default").Get(ctx, "s", metav1.GetOptions{})
	if err != nil || string(s.Data["token"]) != mark {
		t.Errorf("reading the secret gives %v, %v", s, err)
	}
}

func inDatabase(t *testing.T, p *harness.Plane, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(p.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasPrefix(e.Name(), "state.db") {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func testNamespaceDeletion(t *testing.T, c kubernetes.Interface) {
	ctx := t.Context()
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ends"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("ends").Create(ctx, configMap("inside"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Namespaces().Delete(ctx, "ends", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 40*time.Second, func(ctx context.Context) error {
		_, err := c.CoreV1().Namespaces().Get(ctx, "ends", metav1.GetOptions{})
		return gone("the namespace", err)
	})
}

func testGarbageCollection(t *testing.T, c kubernetes.Interface) {
	ctx := t.Context()
	maps := c.CoreV1().ConfigMaps("default")
	owner, err := maps.Create(ctx, configMap("owner"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dependent := configMap("dependent")
	dependent.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	if _, err := maps.Create(ctx, dependent, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		_, err := maps.Get(ctx, "dependent", metav1.GetOptions{})
		return gone("the dependent", err)
	})
}
