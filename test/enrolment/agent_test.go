package enrolment

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server/proxystrategies"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"

	"github.com/cellfed/cellfed/proxy/credential"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

// mostBinary is how large the agent may be, and mostMemory how much of it may be resident, in bytes.
const (
	mostBinary = 25 << 20
	mostMemory = 40 << 20
)

func TestTheAgentIsSmall(t *testing.T) {
	path, err := harness.Binary("cellfed-agent")
	noError(t, err)
	info, err := os.Stat(path)
	noError(t, err)
	t.Logf("the binary has %.1f MB", float64(info.Size())/1e6)
	if info.Size() > mostBinary {
		t.Errorf("the binary has %d bytes, and may have %d", info.Size(), mostBinary)
	}
}

// agentProcess runs the built agent.
func agentProcess(t *testing.T, args ...string) *process.Process {
	t.Helper()
	path, err := harness.Binary("cellfed-agent")
	noError(t, err)
	p, err := process.Start("agent", filepath.Join(t.TempDir(), fmt.Sprint("agent-", time.Now().UnixNano())), exec.Command(path, args...))
	noError(t, err)
	t.Cleanup(func() {
		select {
		case <-p.Gone():
		default:
			_ = p.End(syscall.SIGKILL, soon)
		}
		if t.Failed() {
			t.Logf("log of an agent:\n%s", p.LogTail())
		}
	})
	return p
}

func kill(t *testing.T, p *process.Process) {
	t.Helper()
	noError(t, p.End(syscall.SIGKILL, soon))
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	noError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// enrolling are the arguments of an agent that gets its certificate from the plane.
func (f *fixture) enrolling(who identity.Identity, plane, tokenFile, state string, more ...string) []string {
	return append([]string{
		"--plane=" + plane, "--ca-file=" + f.caFile(), "--cluster=" + who.Cluster, "--enrolment=" + who.Enrolment, "--bootstrap-token-file=" + tokenFile,
		"--state-dir=" + state, "--metrics-address=", "--server=127.0.0.1:1",
	}, more...)
}

// wall is an address on the way to the plane that lets nothing through until it is opened.
type wall struct {
	address string
	open    atomic.Bool
}

func newWall(t *testing.T, to string) *wall {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	w := &wall{address: "https://" + l.Addr().String()}
	target, err := url.Parse(to)
	noError(t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !w.open.Load() {
				_ = c.Close()
				continue
			}
			up, err := net.Dial("tcp", target.Host)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
			go func() { _, _ = io.Copy(c, up); _ = c.Close() }()
		}
	}()
	return w
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestAnAgentThatIsKilledOnTheWayGoesOnWithTheSameTokenKeyAndRequest(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	port, err := process.FreePort("127.0.0.1")
	noError(t, err)
	secure := "--secure-port=" + strconv.Itoa(port)
	// A plane that answers no requests yet.
	before, err := harness.StartPlane(t.Context(), harness.PlaneOptions{DataDir: data, Args: []string{secure, "--controllers=*,-enrolment"}})
	noError(t, err)
	t.Cleanup(func() { _ = before.Close() })
	f := &fixture{Plane: before, admin: must(t)(newAdmin(before))}
	f.objects = newObjects(before)
	who := identity.Identity{Cluster: "hz-1", Enrolment: "aaaaaaaa1"}
	f.join(t, who)
	token := f.token(t, who, time.Hour)
	tokenFile, state := write(t, "token", token+"\n"), filepath.Join(t.TempDir(), "state")
	w := newWall(t, f.RestConfig().Host)
	args := f.enrolling(who, w.address, tokenFile, state)

	// Killed with a key and no request.
	p := agentProcess(t, args...)
	eventually(t, "the agent has kept a key", func() bool { return exists(filepath.Join(state, "pending.json")) })
	kill(t, p)
	pending, err := os.ReadFile(filepath.Join(state, "pending.json"))
	noError(t, err)
	list, err := f.admin.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	noError(t, err)
	if len(list.Items) != 0 {
		t.Fatal("it got through the wall")
	}

	// Killed with a request and no answer, twice.
	w.open.Store(true)
	for range 2 {
		p = agentProcess(t, args...)
		eventually(t, "the agent has made its request", func() bool {
			list, err = f.admin.CertificatesV1().CertificateSigningRequests().List(within(t), metav1.ListOptions{})
			return err == nil && len(list.Items) > 0
		})
		time.Sleep(700 * time.Millisecond) // it asks for the answer
		kill(t, p)
	}
	if again, err := os.ReadFile(filepath.Join(state, "pending.json")); err != nil || string(again) != string(pending) {
		t.Errorf("it took another key or request, %v", err)
	}

	// Answered while it is dead: killed before it kept the answer.
	_, _, err = before.Stop()
	noError(t, err)
	after := harness.RunPlane(t, harness.PlaneOptions{DataDir: data, Args: []string{secure}})
	f.Plane, f.admin, f.objects = after, must(t)(newAdmin(after)), newObjects(after)
	list, err = f.admin.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	noError(t, err)
	if len(list.Items) != 1 {
		t.Fatalf("there are %d requests", len(list.Items))
	}
	signed := f.answer(t, f.admin, list.Items[0].Name).Status.Certificate
	if len(signed) == 0 || exists(filepath.Join(state, "agent.pem")) {
		t.Fatal("the request was denied, or the agent lives")
	}

	agentProcess(t, args...)
	eventually(t, "the agent keeps the certificate", func() bool { return exists(filepath.Join(state, "agent.pem")) })
	kept, err := os.ReadFile(filepath.Join(state, "agent.pem"))
	noError(t, err)
	if !strings.HasPrefix(string(kept), string(signed)) {
		t.Error("it keeps another certificate than the plane signed")
	}
	if _, err := tls.X509KeyPair(kept, kept); err != nil {
		t.Error(err)
	}
	eventually(t, "the request is no longer kept", func() bool { return !exists(filepath.Join(state, "pending.json")) })
	if all := f.requestsOf(t, f.tokenSecret(t, token).Data[identity.TokenPublicKey]); len(all) != 1 {
		t.Errorf("%d requests were made", len(all))
	}
	info, err := os.Stat(filepath.Join(state, "agent.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the key: %v, %v", info.Mode(), err)
	}
}

func TestADeniedAgentTellsWhyAndWhatToDo(t *testing.T) {
	f := newFixture(t, harness.PlaneOptions{})
	who := identity.Identity{Cluster: "hz-1", Enrolment: "aaaaaaaa1"}
	f.join(t, who)
	token := f.token(t, who, time.Hour)
	plane := f.RestConfig().Host
	first := filepath.Join(t.TempDir(), "state")
	agentProcess(t, f.enrolling(who, plane, write(t, "token", token), first)...)
	eventually(t, "the first agent has a certificate", func() bool { return exists(filepath.Join(first, "agent.pem")) })
	for name, tt := range map[string]struct{ token, want string }{
		"with a token that another used": {token, "TokenUsed"},
		"with a token that expired":      {f.token(t, who, -time.Minute), "has expired"},
		"without a token":                {"", "no bootstrap token"},
	} {
		p := agentProcess(t, f.enrolling(who, plane, write(t, "token", tt.token), filepath.Join(t.TempDir(), "state"))...)
		eventually(t, "an agent "+name+" says so and what to do", func() bool {
			return strings.Contains(p.LogTail(), tt.want) && strings.Contains(p.LogTail(), "kubectl cellfed join --tunnel")
		})
	}
}

func TestARenewedCertificateIsHadByTheOldOneAndLeavesNoGap(t *testing.T) {
	f := newFixture(t, harness.PlaneOptions{})
	who := identity.Identity{Cluster: "hz-1", Enrolment: "aaaaaaaa1"}
	f.join(t, who)
	token := f.token(t, who, time.Hour)
	tokenFile, state := write(t, "token", token), credential.Dir(filepath.Join(t.TempDir(), "state"))
	var ahead atomic.Int64
	run := func(ctx context.Context) *credential.Enroller {
		e, err := credential.NewEnroller(credential.Enrolling{
			Plane: f.RestConfig().Host, CA: credential.ReadCA(f.caFile()), TokenFile: tokenFile, Identity: who, Store: state, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			Poll: 50 * time.Millisecond, Look: 50 * time.Millisecond, MinPause: 50 * time.Millisecond, DeniedPause: 100 * time.Millisecond,
			Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		})
		noError(t, err)
		go e.Run(ctx)
		return e
	}
	ctx, stop := context.WithCancel(t.Context())
	e := run(ctx)
	var first *tls.Certificate
	eventually(t, "there is a certificate", func() bool { first, _ = e.Current(); return first != nil })
	// Without the token from here on.
	noError(t, f.admin.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-"+token[:6], metav1.DeleteOptions{}))
	ahead.Store(int64(first.Leaf.NotAfter.Sub(first.Leaf.NotBefore)) * 6 / 10)
	time.Sleep(500 * time.Millisecond)
	if now, _ := e.Current(); now != first {
		t.Error("it was renewed before 70 % of its life")
	}
	_, changed := e.Current()
	ahead.Store(int64(first.Leaf.NotAfter.Sub(first.Leaf.NotBefore)) * 92 / 100)
	select {
	case <-changed:
	case <-time.After(soon):
		t.Fatal("it is not renewed")
	}
	second, _ := e.Current()
	if second == nil || second.Leaf.Equal(first.Leaf) || string(second.Leaf.RawSubjectPublicKeyInfo) == string(first.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("the new certificate has the old key")
	}
	stop()
	// The plane's clock knows nothing of this: the new certificate ends when the plane says.
	ahead.Store(int64(31 * 24 * time.Hour))
	late := run(t.Context())
	time.Sleep(500 * time.Millisecond)
	if now, _ := late.Current(); now != nil {
		t.Error("a certificate that has ended is shown")
	}
}

// proxyServer is an unmodified server of apiserver-network-proxy that trusts the plane's agents.
func (f *fixture) proxyServer(t *testing.T) (agents, caFile string, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	t.Helper()
	s := server.NewProxyServer("stock", []proxystrategies.ProxyStrategy{proxystrategies.ProxyStrategyDefault}, 1, &server.AgentTokenAuthenticationOptions{}, 10)
	certificate, caFile := serving(t)
	ca, err := os.ReadFile(filepath.Join(f.DataDir, "pki", "tunnel-ca.crt"))
	noError(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	listen := func(g *grpc.Server) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		noError(t, err)
		go func() { _ = g.Serve(l) }()
		t.Cleanup(g.Stop)
		return l.Addr().String()
	}
	back := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})))
	agentproto.RegisterAgentServiceServer(back, s)
	front := grpc.NewServer()
	client.RegisterProxyServiceServer(front, s)
	frontend := listen(front)
	_, port, _ := net.SplitHostPort(listen(back))
	return "localhost:" + port, caFile, func(ctx context.Context, network, address string) (net.Conn, error) {
		tunnel, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(ctx, context.Background(), frontend, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		return tunnel.DialContext(ctx, network, address)
	}
}

// resident is how much memory of a process is resident.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("this system does not tell")
	}
	for line := range strings.Lines(string(data)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

func TestTheAgentCarriesBytesAndBringsTheTokenInLittleMemory(t *testing.T) {
	f := newFixture(t, harness.PlaneOptions{})
	who := identity.Identity{Cluster: "hz-1", Enrolment: "aaaaaaaa1"}
	f.join(t, who)
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 256<<10)) }))
	defer member.Close()
	at := member.Listener.Addr().String()
	agents, caFile, dial := f.proxyServer(t)

	secrets := f.admin.CoreV1().Secrets("kube-federation-system")
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "hz-1"}, StringData: map[string]string{"other": "kept"}}, metav1.CreateOptions{})
	noError(t, err)
	// What join allows to the agents of one member.
	role := metav1.ObjectMeta{Namespace: "kube-federation-system", Name: "agent-hz-1"}
	_, err = f.admin.RbacV1().Roles(role.Namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: role, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"hz-1"}, Verbs: []string{"get", "update", "patch"}},
	}}, metav1.CreateOptions{})
	noError(t, err)
	_, err = f.admin.RbacV1().RoleBindings(role.Namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: role, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: who.CommonName()}},
	}, metav1.CreateOptions{})
	noError(t, err)

	port, err := process.FreePort("127.0.0.1")
	noError(t, err)
	health := "127.0.0.1:" + strconv.Itoa(port)
	delivered := write(t, "account-token", "one\n")
	p := agentProcess(t, "--plane="+f.RestConfig().Host, "--ca-file="+f.caFile(), "--server-ca-file="+caFile, "--server="+agents, "--cluster="+who.Cluster, "--enrolment="+who.Enrolment,
		"--bootstrap-token-file="+write(t, "token", f.token(t, who, time.Hour)), "--state-dir="+filepath.Join(t.TempDir(), "state"), "--metrics-address="+health,
		"--member-endpoint=https://"+at, "--deliver-secret=kube-federation-system/hz-1", "--deliver-token-file="+delivered, "--drain=1s")
	eventually(t, "the agent is ready", func() bool {
		resp, err := http.Get("http://" + health + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	web := &http.Client{Transport: &http.Transport{DialContext: dial, MaxConnsPerHost: 16}, Timeout: soon}
	errs := make(chan error, 64)
	for range cap(errs) {
		go func() {
			resp, err := web.Get("http://" + at)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	memory := resident(t, p.PID())
	t.Logf("%.1f MiB are resident after %d answers of 256 KiB over 16 connections", float64(memory)/(1<<20), cap(errs))
	if memory > mostMemory {
		t.Errorf("%d bytes are resident, and %d may be", memory, mostMemory)
	}
	brought := func(want string) func() bool {
		return func() bool {
			s, err := secrets.Get(t.Context(), "hz-1", metav1.GetOptions{})
			return err == nil && string(s.Data["token"]) == want && string(s.Data["other"]) == "kept"
		}
	}
	eventually(t, "the token is brought to the plane", brought("one"))
	noError(t, os.WriteFile(delivered, []byte("two"), 0o600))
	eventually(t, "the next token is brought to the plane", brought("two"))
	begun := time.Now()
	noError(t, p.End(syscall.SIGTERM, soon))
	if p.Exit() != nil || time.Since(begun) > 5*time.Second {
		t.Errorf("it ended with %v after %s", p.Exit(), time.Since(begun))
	}
}
