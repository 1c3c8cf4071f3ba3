package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"

	"github.com/cellfed/cellfed/pkg/playground"
	"github.com/cellfed/cellfed/proxy/server"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

// site is a plane that serves tunnels at an address that stays, and a member.
type site struct {
	*testing.T
	plane   *harness.Plane
	tunnels string // the plane's address for agents
	member  *harness.Member
}

func newSite(t *testing.T, options ...harness.MembersOption) *site {
	t.Helper()
	return newSiteBehind(t, "", options...)
}

// newSiteBehind is a site whose member is behind a firewall; "" = none.
func newSiteBehind(t *testing.T, firewall playground.Firewall, options ...harness.MembersOption) *site {
	t.Helper()
	tunnels := freeAddress(t)
	_, port, _ := net.SplitHostPort(tunnels)
	return newSiteWith(t, firewall, tunnels, []string{"--tunnel-port=" + port}, options...)
}

// newSiteWith is a site whose plane has other arguments. The member's ways out are to the plane and to tunnels, the address
// at which it serves them.
func newSiteWith(t *testing.T, firewall playground.Firewall, tunnels string, args []string, options ...harness.MembersOption) *site {
	t.Helper()
	s := &site{T: t, tunnels: tunnels, plane: harness.RunPlane(t, harness.PlaneOptions{Args: args})}
	options = append(options, harness.MembersNamed("hz-1"))
	if firewall != "" {
		options = append(options, harness.MembersFirewalled(firewall, []string{"hz-1"}, tunnels, strings.TrimPrefix(s.plane.RestConfig().Host, "https://")))
	}
	s.member = harness.Members(t, 1, options...).Members[0]
	if firewall != "" {
		s.closed()
	}
	return s
}

// closed tells what the member is behind, and checks that from outside nobody reaches what from inside can be reached.
func (s *site) closed() {
	s.Helper()
	if s.member.Firewall == playground.NetworkNamespace {
		s.Log("the member is in a network namespace that can only dial out")
	} else {
		s.Logf("the member is behind a %s", s.member.Firewall)
	}
	if out, err := s.member.Kubectl(s.Context(), s.member.Kubeconfig, "", "get", "--raw", "/version"); err != nil {
		s.Fatalf("from inside, the member cannot be reached: %v\n%s", err, out)
	}
	if out, err := harness.Kubectl(s.Context(), s.member.Kubeconfig, "", "get", "--raw", "/version"); err == nil {
		s.Fatalf("from outside, the member can be reached: %s", out)
	}
}

func (s *site) kubectl(args ...string) string {
	s.Helper()
	return s.kubectlIn("", args...)
}

// kubectlIn is kubectl with something on its standard input.
func (s *site) kubectlIn(stdin string, args ...string) string {
	s.Helper()
	out, err := harness.Kubectl(s.Context(), s.plane.Kubeconfig, stdin, args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// join joins the member through a tunnel, and returns where its agent's files are and the agent's command line.
func (s *site) join(args ...string) (dir string, command []string) {
	s.Helper()
	dir = s.TempDir()
	command, err := s.plane.JoinTunnelled(s.Context(), s.member, dir, args...)
	if err != nil {
		s.Fatal(err)
	}
	return dir, command
}

// agent runs our agent where the member is, and returns what ends it by force.
func (s *site) agent(command []string) (kill func()) {
	s.Helper()
	return s.inMember("cellfed-agent", command...)
}

// inMember runs one of our binaries where the member is, and returns what ends it by force.
func (s *site) inMember(name string, args ...string) (kill func()) {
	s.Helper()
	agent, err := s.member.Run(name, filepath.Join(s.TempDir(), "agent.log"), args...)
	if err != nil {
		s.Fatal(err)
	}
	kill = sync.OnceFunc(func() { _ = agent.End(syscall.SIGKILL, time.Minute) })
	s.Cleanup(func() {
		kill()
		if s.Failed() {
			s.Logf("the agent said:\n%s", agent.LogTail())
		}
	})
	return kill
}

func (s *site) eventually(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	s.Fatalf("within a minute it did not come true that %s: %s", what, s.kubectl("get", "kubefedcluster", "hz-1", "-n", "kube-federation-system", "-o", "yaml"))
}

// state is whether the member is ready, how many agents it has, and why.
func (s *site) state() (ready, agents, message string) {
	s.Helper()
	out := s.kubectl("get", "kubefedcluster", "hz-1", "-n", "kube-federation-system", "-o",
		`jsonpath={.status.conditions[?(@.type=="Ready")].status}|{.status.tunnel.agents}|{.status.conditions[?(@.type=="Ready")].message}`)
	parts := strings.SplitN(out, "|", 3)
	return parts[0], parts[1], parts[2]
}

func (s *site) becomes(ready, agents string) {
	s.Helper()
	s.eventually(fmt.Sprintf("Ready is %s with %s agents", ready, agents), func() bool {
		r, a, _ := s.state()
		return r == ready && a == agents
	})
}

func (s *site) federateConfigMaps() {
	s.Helper()
	s.kubectlIn(harness.FederatedConfigMaps, "apply", "-f", "-")
}

// apply has a ConfigMap with a value carried to the member, and waits until it is there.
func (s *site) apply(value string) {
	s.Helper()
	manifest := fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: types.kubefed.io/v1beta1
kind: FederatedConfigMap
metadata: {name: settings, namespace: shop}
spec:
  template: {data: {value: %q}}
  placement: {clusters: [{name: hz-1}]}
`, value)
	s.eventually("the type is served", func() bool {
		_, err := harness.Kubectl(s.Context(), s.plane.Kubeconfig, manifest, "apply", "-f", "-")
		return err == nil
	})
	s.holds(value)
}

func (s *site) holds(value string) {
	s.Helper()
	s.eventually("the member has "+value, func() bool {
		out, err := s.member.Kubectl(s.Context(), s.member.Kubeconfig, "", "get", "configmap", "settings", "-n", "shop", "-o", "jsonpath={.data.value}")
		return err == nil && out == value
	})
}

func TestAMemberThatCanOnlyDialOutIsServed(t *testing.T) {
	// The second is what the first falls back to where the system makes no namespaces.
	for _, firewall := range []playground.Firewall{playground.BestFirewall, playground.Doorkeeper} {
		t.Run(string(firewall), func(t *testing.T) {
			s := newSiteBehind(t, firewall)
			if out, err := harness.Kubectl(t.Context(), s.plane.Kubeconfig, "", "cellfed", "join", "hz-1", "--member-kubeconfig="+s.member.Kubeconfig); err == nil {
				t.Errorf("it joined without a tunnel:\n%s", out)
			}
			s.federateConfigMaps()
			_, command := s.join()
			kill := s.agent(command)
			s.becomes("True", "1")
			s.apply("one")

			t.Log("Without its agent there is no other way")
			kill()
			s.becomes("False", "0")
			s.agent(command)
			s.becomes("True", "1")
			s.apply("two")
			s.closed()
		})
	}
}

func TestAMemberLivesBehindItsTunnel(t *testing.T) {
	s := newSite(t)
	s.federateConfigMaps()
	_, command := s.join()
	s.becomes("False", "0")
	if _, _, why := s.state(); !strings.Contains(why, "no agent of member hz-1 is connected") {
		t.Errorf("a member without an agent: %s", why)
	}
	kill := s.agent(command)
	s.becomes("True", "1")
	s.apply("one")
	if ends := s.kubectl("get", "kubefedcluster", "hz-1", "-n", "kube-federation-system", "-o", "jsonpath={.status.tunnel.certificateExpirationTime}"); ends == "" {
		t.Error("the end of the agent's certificate is not shown")
	}

	t.Log("A watch goes through it: what somebody changes in the member is put right")
	member := kubernetes.NewForConfigOrDie(s.member.Config)
	c, err := member.CoreV1().ConfigMaps("shop").Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Data["value"] = "somebody else's"
	if _, err := member.CoreV1().ConfigMaps("shop").Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.holds("one")

	t.Log("An agent that is killed, and one that comes with what the first one kept")
	kill()
	s.becomes("False", "0")
	kill = s.agent(command)
	s.becomes("True", "1")
	s.apply("two")

	t.Log("A plane that is killed, while its agents stay")
	if err := s.plane.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.plane.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.becomes("True", "1")
	s.apply("three")

	t.Log("Agents that are revoked, and others in their place")
	s.kubectl("cellfed", "revoke", "hz-1")
	s.becomes("False", "0")
	if _, _, why := s.state(); !strings.Contains(why, "revoked") {
		t.Errorf("a member with revoked agents: %s", why)
	}
	_, next := s.join()
	s.agent(next)
	s.becomes("True", "1") // and not 2: the first one still tries
	s.apply("four")
	kill()

	t.Log("And it goes like any other")
	s.kubectl("delete", "federatedconfigmap", "settings", "-n", "shop")
	s.kubectl("cellfed", "unjoin", "hz-1", "--member-kubeconfig="+s.member.Kubeconfig)
	tokens := s.kubectl("get", "secrets", "-n", "kube-system", "-o", "name")
	if strings.Contains(tokens, "bootstrap-token") {
		t.Errorf("left are %s", tokens)
	}
}

// Who joins cannot reach the member: what join prints is applied there by somebody else, and the agent hands over what the
// plane comes with. There are no pods here, so the agent's process gets the files that its pod would have.
func TestAMemberIsJoinedByWhoCannotReachIt(t *testing.T) {
	s := newSite(t)
	out := s.kubectl("cellfed", "join", "hz-1", "--tunnel", "--member-endpoint="+s.member.Config.Host, "-o", "json")
	_, printed, _ := strings.Cut(out, "\n{")
	if _, err := harness.Kubectl(t.Context(), s.member.Kubeconfig, "{"+printed, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	member := kubernetes.NewForConfigOrDie(s.member.Config)
	const namespace = "kube-federation-system"
	dir := t.TempDir()
	files := func(secret, mount string) {
		t.Helper()
		s.eventually("the member has the secret "+secret, func() bool {
			found, err := member.CoreV1().Secrets(namespace).Get(t.Context(), secret, metav1.GetOptions{})
			if err != nil || len(found.Data) == 0 {
				return false
			}
			for name, data := range found.Data {
				path := filepath.Join(dir, mount, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return true
		})
	}
	files("hz-1-cellfed-agent", "bootstrap")
	files("hz-1-cellfed", "account")
	deployment, err := member.AppsV1().Deployments(namespace).Get(t.Context(), "hz-1-cellfed-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var command []string
	for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
		switch {
		case strings.HasPrefix(arg, "--state-secret="): // it is for a pod
			arg = "--state-dir=" + filepath.Join(dir, "state")
		case strings.HasPrefix(arg, "--metrics-address="):
			arg = "--metrics-address="
		}
		command = append(command, strings.ReplaceAll(arg, "/etc/cellfed-agent", dir))
	}
	s.agent(command)
	s.becomes("True", "1")
	s.federateConfigMaps()
	s.apply("one")
}

// An unmodified agent of apiserver-network-proxy, as its module builds it, serves the member with the certificate that ours was
// given; and an unmodified konnectivity client, with the administrator's, speaks to the member's API server through the plane.
func TestUnmodifiedAgentsAndClientsAreServed(t *testing.T) {
	s := newSiteBehind(t, playground.BestFirewall)
	s.federateConfigMaps()
	dir, command := s.join()
	kill := s.agent(command)
	s.becomes("True", "1")
	kill()
	s.becomes("False", "0")

	certificate := findCertificate(t, dir)
	host, port, err := net.SplitHostPort(s.tunnels)
	if err != nil {
		t.Fatal(err)
	}
	upstream := []string{"--proxy-server-host=" + host, "--proxy-server-port=" + port, "--ca-cert=" + filepath.Join(dir, "plane-ca.crt"),
		"--agent-cert=" + certificate, "--agent-key=" + certificate, "--agent-id=upstream", "--sync-interval=100ms", "--sync-interval-cap=1s", "--probe-interval=100ms"}
	for _, what := range []string{"health", "admin"} {
		free, err := process.FreePort("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		upstream = append(upstream, fmt.Sprintf("--%s-server-port=%d", what, free))
	}
	kill = s.inMember("tools/agent", append(upstream, "--health-server-host=127.0.0.1")...)
	s.becomes("True", "1")
	s.apply("one")

	client := s.through(s.tunnels, dir)
	watch, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	big := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Data: map[string]string{"value": strings.Repeat("0123456789", 90000)}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), big, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case e, open := <-watch.ResultChan():
			if !open {
				t.Fatal("the watch ended")
			}
			if c, ok := e.Object.(*corev1.ConfigMap); ok && c.Name == "big" {
				if c.Data["value"] != big.Data["value"] {
					t.Error("it came back differently")
				}
				kill()
				s.becomes("False", "0")
				return
			}
		case <-time.After(time.Minute):
			t.Fatal("the watch tells nothing")
		}
	}
}

// through is a client of the member that dials through the tunnels at an address.
func (s *site) through(tunnels, agentDir string) kubernetes.Interface {
	s.Helper()
	config := rest.CopyConfig(s.member.Config)
	config.Dial = s.dialerAt(tunnels, agentDir)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.Fatal(err)
	}
	return client
}

// dialer is dialerAt for the site's own tunnels.
func (s *site) dialer(agentDir string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return s.dialerAt(s.tunnels, agentDir)
}

// dialerAt dials in the member as the administrator of the plane, with an unmodified konnectivity client. What join left in
// agentDir says whom to trust.
func (s *site) dialerAt(tunnels, agentDir string) func(ctx context.Context, network, address string) (net.Conn, error) {
	s.Helper()
	ca, err := os.ReadFile(filepath.Join(agentDir, "plane-ca.crt"))
	if err != nil {
		s.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	admin := s.plane.RestConfig()
	if err := rest.LoadTLSFiles(admin); err != nil {
		s.Fatal(err)
	}
	own, err := tls.X509KeyPair(admin.CertData, admin.KeyData)
	if err != nil {
		s.Fatal(err)
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		life := metadata.AppendToOutgoingContext(context.Background(), server.ClusterHeader, "hz-1")
		tunnel, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(ctx, life, tunnels,
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool, MinVersion: tls.VersionTLS12})))
		if err != nil {
			return nil, err
		}
		return tunnel.DialContext(ctx, network, address)
	}
}

// findCertificate finds the file with the agent's key and certificate.
func findCertificate(t *testing.T, dir string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(filepath.Join(dir, "state"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "BEGIN CERTIFICATE-") && strings.Contains(string(data), "PRIVATE KEY") {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("the agent kept no certificate: %v", err)
	}
	return found
}
