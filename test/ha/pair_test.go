package ha

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/test/harness"
)

// pair is two servers on one storage.
type pair struct {
	*testing.T
	servers [2]*harness.Plane
	// config is of a client that knows both, and any is one.
	config *rest.Config
	any    kubernetes.Interface
}

// startPair starts a server, hands its keys to another, and starts that.
func startPair(t *testing.T, url string) *pair {
	t.Helper()
	p := &pair{T: t}
	dirs := [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	p.servers[0] = harness.RunPlane(t, harness.PlaneOptions{DataDir: dirs[0], Args: []string{"--storage=" + url}})
	harness.HandKeys(t, dirs[0], dirs[1])
	p.servers[1] = harness.RunPlane(t, harness.PlaneOptions{DataDir: dirs[1], Args: []string{"--storage=" + url}})
	first := p.servers[0].RestConfig()
	both := p.either(first)
	p.config = p.servers[0].RestConfig()
	p.config.Wrap(func(http.RoundTripper) http.RoundTripper { return both })
	var err error
	if p.any, err = kubernetes.NewForConfig(p.config); err != nil {
		t.Fatal(err)
	}
	return p
}

// cellfed runs the binary until it ends.
func cellfed(ctx context.Context, args ...string) (string, error) {
	binary, err := harness.Binary("cellfed")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	return string(out), err
}

// either sends each request to the server that answered last, and to the other when that one does not: what a load
// balancer does, with no more knowledge than one has.
func (p *pair) either(config *rest.Config) http.RoundTripper {
	tlsConfig, err := rest.TLSConfigFor(config) // the first server's: they share what clients trust
	if err != nil {
		p.Fatal(err)
	}
	e := &either{next: &http.Transport{
		TLSClientConfig: tlsConfig, ResponseHeaderTimeout: 700 * time.Millisecond, TLSHandshakeTimeout: 700 * time.Millisecond,
		DialContext: (&net.Dialer{Timeout: 700 * time.Millisecond}).DialContext, MaxIdleConnsPerHost: 16,
	}}
	for i, s := range p.servers {
		u, err := url.Parse(s.RestConfig().Host)
		if err != nil {
			p.Fatal(err)
		}
		e.hosts[i] = u.Host
	}
	return e
}

type either struct {
	hosts [2]string
	now   atomic.Int32
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper. What is asked twice may have been done the first time: callers see to that.
func (e *either) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		at := e.now.Load()
		try := req.Clone(req.Context())
		try.URL.Host = e.hosts[at]
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			try.Body = body
		}
		resp, err := e.next.RoundTrip(try)
		if err == nil && resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests &&
			resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden { // one that starts knows nobody yet
			return resp, nil
		}
		if req.Context().Err() != nil {
			return resp, err
		}
		if err == nil {
			resp.Body.Close()
		}
		e.now.CompareAndSwap(at, 1-at)
		time.Sleep(10 * time.Millisecond)
	}
}

var leaderMetric = regexp.MustCompile(`(?m)^cellfed_leader (\d)`)

// leads tells whether a server says that it leads.
func leads(ctx context.Context, s *harness.Plane) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client, err := kubernetes.NewForConfig(s.RestConfig())
	if err != nil {
		return false
	}
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		return false
	}
	m := leaderMetric.FindSubmatch(raw)
	return m != nil && bytes.Equal(m[1], []byte("1"))
}

// leader is the number of the server that leads.
func (p *pair) leader() int {
	p.Helper()
	at := -1
	p.within(time.Minute, "one server leads", func() error {
		at = -1
		for i, s := range p.servers {
			if s.PID() == 0 || !leads(p.Context(), s) {
				continue
			}
			if at >= 0 {
				p.Fatal("both servers lead")
			}
			at = i
		}
		if at < 0 {
			return errors.New("none does")
		}
		return nil
	})
	return at
}

// within waits for something and tells how long it took.
func (p *pair) within(limit time.Duration, what string, holds func() error) time.Duration {
	p.Helper()
	began := time.Now()
	for {
		err := holds()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > limit {
			p.Fatalf("after %s it is not so that %s: %v", limit, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// work makes the controllers do something that the API server does not do by itself: put a role together from another.
func (p *pair) work(name string, limit time.Duration) time.Duration {
	p.Helper()
	ctx := p.Context()
	roles := p.any.RbacV1().ClusterRoles()
	of := map[string]string{"probe": name}
	for _, role := range []*rbacv1.ClusterRole{
		{ObjectMeta: metav1.ObjectMeta{Name: name + "-part", Labels: of}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: name}, AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: of}}}},
	} {
		if _, err := roles.Create(ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			p.Fatal(err)
		}
	}
	return p.within(limit, "controllers put a role together", func() error {
		role, err := roles.Get(ctx, name, metav1.GetOptions{})
		if err == nil && len(role.Rules) == 0 {
			err = errors.New("it has no rules")
		}
		return err
	})
}

// freeze stops a server's process in the middle of whatever it does. It goes on with thaw, or at the end of the test.
func (p *pair) freeze(i int) (thaw func()) {
	p.Helper()
	pid := p.servers[i].PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.Fatal(err)
	}
	thawed := false
	thaw = func() {
		if !thawed {
			thawed = true
			_ = syscall.Kill(pid, syscall.SIGCONT) // a process that is gone needs none
		}
	}
	p.Cleanup(thaw)
	return thaw
}

// oneLine is the last line of what a process printed.
func oneLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}
