package playground

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	api "github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/test/harness"
)

// TestMembersAreRealClustersThatCanBeStoppedAndPaused walks through the life of two members.
func TestMembersAreRealClustersThatCanBeStoppedAndPaused(t *testing.T) {
	set := harness.Members(t, 2, harness.MembersNamed("hz-1", "hz-2"), harness.MembersWithNodes(1), harness.MembersWithAudit())
	first, second := set.Named("hz-1"), set.Named("hz-2")
	client := clientOf(t, first.Config)
	ctx := t.Context()

	// Deleting a namespace takes seconds, which the other tests use.
	doomed := namespace(t, client, "doomed")
	if err := client.CoreV1().Namespaces().Delete(ctx, doomed, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Run("the pods of a Deployment become ready, and go with it", func(t *testing.T) { deploymentLives(t, client) })
	t.Run("a service account token secret is filled", func(t *testing.T) { tokenIsFilled(t, client) })
	t.Run("the server tells its Kubernetes version", func(t *testing.T) {
		info, err := client.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(info.GitVersion, "v1.") {
			t.Errorf("version %s, want the one it was built from", info.GitVersion)
		}
	})
	t.Run("a request is in the audit log when it is answered, in that member's only", func(t *testing.T) {
		configMap(t, client, "counted")
		if n := timesIn(t, first.AuditLog, "configmaps/counted"); n != 1 {
			t.Errorf("%d lines in the log of the member that was asked, want 1", n)
		}
		if n := timesIn(t, second.AuditLog, "configmaps/counted"); n != 0 {
			t.Errorf("%d lines in the log of the other member, want none", n)
		}
	})
	t.Run("a stopped member refuses connections and comes back with its data and port", func(t *testing.T) {
		configMap(t, client, "kept")
		first.Stop(t)
		_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("asking a stopped member: %v, want connection refused", err)
		}
		if _, err := clientOf(t, second.Config).Discovery().ServerVersion(); err != nil {
			t.Errorf("the other member: %v", err)
		}
		first.Start(t)
		if _, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{}); err != nil {
			t.Errorf("after its return: %v", err)
		}
	})
	t.Run("a paused member accepts and never answers, and goes on when resumed", func(t *testing.T) { pauseHangs(t, second) })
	t.Run("a member that is killed is reported as failed and can be started again", func(t *testing.T) { deathIsTold(t, set, second) })
	t.Run("actions on unknown members and in wrong states are refused", func(t *testing.T) {
		if err := (&harness.Member{}).Do(ctx, api.ActionStop); err == nil {
			t.Error("an action without a playground: no error")
		}
		if err := first.Do(ctx, "explode"); err == nil || !strings.Contains(err.Error(), "explode") {
			t.Errorf("an unknown action: %v", err)
		}
		first.Stop(t)
		if err := first.Do(ctx, api.ActionPause); err == nil || !strings.Contains(err.Error(), "Stopped") {
			t.Errorf("pausing a stopped member: %v", err)
		}
		first.Start(t)
	})
	t.Run("a second playground on the directory is refused", func(t *testing.T) {
		out, err := run(t, "up", "--dir", set.Dir)
		if err == nil || !strings.Contains(out, "runs on "+set.Dir+" already") || strings.Count(out, "\n") != 1 {
			t.Errorf("up: %v, %q; want an error in one line", err, out)
		}
	})
	t.Run("a deleted namespace goes away", func(t *testing.T) {
		eventually(t, 30*time.Second, func() error {
			_, err := client.CoreV1().Namespaces().Get(ctx, doomed, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(errors.New("it is still there"), err)
		})
	})
	t.Run("down leaves no process", func(t *testing.T) {
		pids := processesOf(t, set)
		if out, err := run(t, "down", "--dir", set.Dir); err != nil {
			t.Fatalf("down: %v, %s", err, out)
		}
		noneLeft(t, pids)
		if out, err := run(t, "status", "--dir", set.Dir); err == nil || !strings.Contains(out, "no playground runs on") {
			t.Errorf("status after down: %v, %q", err, out)
		}
	})
}

func deploymentLives(t *testing.T, client kubernetes.Interface) {
	ctx := t.Context()
	replicas, labels := int32(3), map[string]string{"app": "web"}
	_, err := client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					InitContainers: []corev1.Container{{Name: "init", Image: "init"}},
					Containers:     []corev1.Container{{Name: "web", Image: "web"}},
				},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error {
		web, err := client.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
		if err == nil && web.Status.AvailableReplicas != replicas {
			return errors.New("its replicas are not available")
		}
		return err
	})
	background := metav1.DeletePropagationBackground
	if err := client.AppsV1().Deployments("default").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err == nil && len(pods.Items) != 0 {
			return errors.New("its pods are still there")
		}
		return err
	})
}

func tokenIsFilled(t *testing.T, client kubernetes.Interface) {
	ctx := t.Context()
	_, err := client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error {
		secret, err := client.CoreV1().Secrets("default").Get(ctx, "token", metav1.GetOptions{})
		if err == nil && len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
			return errors.New("it holds no token")
		}
		return err
	})
}

func pauseHangs(t *testing.T, m *harness.Member) {
	m.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	address, err := url.Parse(m.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.Host)
	if err != nil {
		t.Errorf("dialling a paused member: %v, want a connection", err)
	} else {
		_ = conn.Close()
	}
	client := clientOf(t, m.Config)
	err = client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("asking a paused member: %v, want no answer", err)
	}
	m.Resume(t)
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error(); err != nil {
		t.Errorf("asking it after it resumed: %v", err)
	}
}

func deathIsTold(t *testing.T, set *harness.MemberSet, m *harness.Member) {
	state := func() api.MemberStatus {
		status, err := set.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range status.Members {
			if s.Name == m.Name {
				return s
			}
		}
		t.Fatalf("no member %s in the status", m.Name)
		return api.MemberStatus{}
	}
	if err := syscall.Kill(state().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		if now := state(); now.State != api.Failed || !strings.Contains(now.Message, "killed") || now.PID != 0 {
			return errors.New("its state is " + string(now.State) + ", message " + now.Message)
		}
		return nil
	})
	m.Start(t)
	if _, err := clientOf(t, m.Config).Discovery().ServerVersion(); err != nil {
		t.Errorf("after its return: %v", err)
	}
}

func clientOf(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func configMap(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}

func namespace(t *testing.T, client kubernetes.Interface, name string) string {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// timesIn counts the GETs of a path in an audit log.
func timesIn(t *testing.T, file, path string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(data) {
		if bytes.Contains(line, []byte(`"verb":"get"`)) && bytes.Contains(line, []byte(path+`"`)) {
			n++
		}
	}
	return n
}

// eventually tries again until f returns nil, and fails the test if it never does.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
