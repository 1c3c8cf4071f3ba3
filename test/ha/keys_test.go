package ha

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/test/harness"
)

func TestWhatOneServerIssuesTheOtherAccepts(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := startPair(t, url)
		ctx := t.Context()
		a, err := kubernetes.NewForConfig(p.servers[0].RestConfig())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		token, err := a.CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		atB := rest.AnonymousClientConfig(p.servers[0].RestConfig()) // the authority that clients of the first server trust
		atB.Host, atB.BearerToken = p.servers[1].RestConfig().Host, token.Status.Token
		robot, err := kubernetes.NewForConfig(atB)
		if err != nil {
			t.Fatal(err)
		}
		p.within(5*time.Second, "the other server accepts the token", func() error {
			review, err := robot.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if err == nil && review.Status.UserInfo.Username != "system:serviceaccount:default:robot" {
				t.Errorf("it takes the robot for %q", review.Status.UserInfo.Username)
			}
			return err
		})
		admin := p.servers[0].RestConfig() // with the first server's client certificate
		admin.Host = p.servers[1].RestConfig().Host
		b, err := kubernetes.NewForConfig(admin)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := b.CoreV1().Secrets("default").Get(ctx, "s", metav1.GetOptions{}); err != nil || string(s.Data["k"]) != "v" {
			t.Errorf("the other server reads a secret as %v, %v", s, err)
		}
	})
}

// refused is what a server says that does not start.
func refused(t *testing.T, dir, url string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	served := make(chan struct{})
	watching, cancel := context.WithCancel(t.Context())
	go func() { // a server that is refused must have served nobody
		defer close(served)
		for watching.Err() == nil {
			if conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 50*time.Millisecond); err == nil {
				_ = conn.SetDeadline(time.Now().Add(time.Second))
				if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err == nil {
					if n, _ := conn.Read(make([]byte, 1)); n > 0 {
						t.Error("a server that was refused had begun to serve")
					}
				}
				conn.Close()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	out, err := cellfed(t.Context(), "server", "--data-dir", dir, "--storage", url, "--secure-port", port)
	cancel()
	<-served
	if err == nil {
		t.Fatalf("the server was not refused:\n%s", out)
	}
	return oneLine(out)
}

func TestAServerWithOtherKeysIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := startPair(t, url)
		first := p.servers[0].DataDir
		for name, tt := range map[string]struct {
			keys func(dir string)
			says string
		}{
			"all of them": {func(string) {}, "other client-ca, service-account, serving-ca"},
			"the one that signs tokens": {func(dir string) {
				harness.HandKeys(t, first, dir)
				remove(t, dir, "service-account.key")
			}, "other service-account"},
			"the one that encrypts": {func(dir string) {
				harness.HandKeys(t, first, dir)
				remove(t, dir, "encryption.yaml")
			}, "cannot read the secrets that are in the database"},
		} {
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "c")
				tt.keys(dir)
				if line := refused(t, dir, url); !strings.HasPrefix(line, "cellfed: ") || !strings.Contains(line, tt.says) || !strings.Contains(line, "keys export") {
					t.Errorf("it says %q, want something with %q", line, tt.says)
				}
			})
		}
	})
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "pki", name)); err != nil {
		t.Fatal(err)
	}
}

func TestKeysThatAreLostAreReplacedWhenItIsAskedFor(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := startPair(t, url)
		dir := filepath.Join(t.TempDir(), "c")
		harness.HandKeys(t, p.servers[0].DataDir, dir)
		remove(t, dir, "service-account.key")
		if _, _, err := p.servers[1].Stop(); err != nil {
			t.Fatal(err)
		}
		c := harness.RunPlane(t, harness.PlaneOptions{DataDir: dir, Args: []string{"--storage=" + url, "--replace-keys"}})
		if _, _, err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		// The one with the former keys.
		if line := refused(t, p.servers[1].DataDir, url); !strings.Contains(line, "other service-account") {
			t.Errorf("it says %q", line)
		}
	})
}
