package tunnel

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/remote"
	"github.com/cellfed/cellfed/test/harness"
	"github.com/cellfed/cellfed/test/harness/process"
)

// proxy is a proxy server on its own.
type proxy struct {
	*site
	name, address, health string
	command               []string
	running               *process.Process
}

// freeAddress is an address on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// proxy issues what a proxy server needs, also under other names, and runs it.
func (s *site) proxy(name string, hosts ...string) *proxy {
	s.Helper()
	p := &proxy{site: s, name: name, address: freeAddress(s.T), health: freeAddress(s.T)}
	dir := filepath.Join(s.TempDir(), name)
	cellfed, err := harness.Binary("cellfed")
	if err != nil {
		s.Fatal(err)
	}
	issue := []string{"keys", "proxy-server", "--data-dir=" + s.plane.DataDir, "--out=" + dir, "--host=127.0.0.1"}
	for _, h := range hosts {
		issue = append(issue, "--host="+h)
	}
	if out, err := exec.CommandContext(s.Context(), cellfed, issue...).CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	_, port, _ := net.SplitHostPort(p.address)
	p.command = []string{"proxy", "--dir=" + dir, "--port=" + port, "--name=" + name, "--health-address=" + p.health}
	p.start()
	s.Cleanup(p.kill)
	return p
}

func (p *proxy) start() {
	p.Helper()
	manager, err := harness.Binary("cellfed-manager")
	if err != nil {
		p.Fatal(err)
	}
	log := filepath.Join(p.TempDir(), p.name+".log")
	p.running, err = process.Start(p.name, log, exec.Command(manager, p.command...))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if p.Failed() {
			p.Logf("%s said:\n%s", p.name, process.LogTail(log))
		}
	})
	p.eventually(p.name+" is ready", func() bool { _, ok := p.ask("/readyz"); return ok })
}

func (p *proxy) kill() { _ = p.running.End(os.Kill, 10*time.Second) }

func (p *proxy) ask(path string) (string, bool) {
	answer, err := http.Get("http://" + p.health + path)
	if err != nil {
		return "", false
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return string(body), err == nil && answer.StatusCode == http.StatusOK
}

// holdsTunnels waits until the member's agent holds a tunnel of both lanes to the server.
func (p *proxy) holdsTunnels() {
	p.Helper()
	p.eventually("the agent is connected to "+p.name, func() bool {
		metrics, _ := p.ask("/metrics")
		return strings.Contains(metrics, `cellfed_tunnel_streams{lane="control",member="hz-1"} 1`) &&
			strings.Contains(metrics, `cellfed_tunnel_streams{lane="bulk",member="hz-1"} 1`)
	})
}

// dialler dials as the plane's administrator, through the servers that the plane knows of.
func (s *site) dialler(addresses ...string) *remote.Servers {
	s.Helper()
	d := remote.NewServers(remote.Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) {
		return rest.TLSConfigFor(s.plane.RestConfig())
	}})
	s.Cleanup(d.Close)
	if err := d.Use(addresses); err != nil {
		s.Fatal(err)
	}
	return d
}

// reached is how long it takes until the member's API server answers through proxy servers.
func (s *site) reached(d *remote.Servers) time.Duration {
	s.Helper()
	u, err := url.Parse(s.member.Config.Host)
	if err != nil {
		s.Fatal(err)
	}
	config := rest.CopyConfig(s.member.Config)
	config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.Dial(ctx, "hz-1", u.Host, hub.Control)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		s.Fatal(err)
	}
	defer client.CloseIdleConnections()
	began := time.Now()
	s.eventually("the member is reached", func() bool {
		answer, err := client.Get(s.member.Config.Host + "/readyz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return time.Since(began)
}

// The plane serves no tunnels; two servers of them run on their own, and either may die.
func TestServersOfTunnelsRunOnTheirOwn(t *testing.T) {
	s := newSiteWith(t, "", "", []string{"--tunnel-port=-1"})
	s.federateConfigMaps()
	one, two := s.proxy("one"), s.proxy("two")
	s.eventually("join knows of both", func() bool {
		return strings.Count(s.kubectl("get", "configmap", "cellfed-tunnel-servers", "-n", "kube-federation-system", "-o", "jsonpath={.data}"), "127.0.0.1") == 2
	})
	_, command := s.join()
	for _, p := range []*proxy{one, two} {
		if !strings.Contains(strings.Join(command, " "), p.address) {
			t.Errorf("the agent is not told of %s: %s", p.address, command)
		}
	}
	s.becomes("False", "0")
	s.agent(command)
	s.becomes("True", "1") // one agent, although it holds tunnels to both
	one.holdsTunnels()
	two.holdsTunnels()
	s.apply("one")

	d := s.dialler(one.address, two.address)
	s.eventually("both tell of the agent", func() bool { return len(d.Agents("hz-1")) == 2 })
	t.Log("A server that is killed: the other one carries on, and the agent comes to the first again")
	one.kill()
	t.Logf("reached again after %v", s.reached(d))
	s.apply("two")
	one.start()
	one.holdsTunnels()
	two.kill()
	t.Logf("reached again after %v", s.reached(d))
	s.apply("three")
	two.start()
	two.holdsTunnels()

	t.Log("A plane that is killed: the tunnels stay")
	if err := s.plane.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("without the plane it is reached in %v", s.reached(d))
	if err := s.plane.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.becomes("True", "1")
	s.apply("four")

	t.Log("Agents that are revoked lose their tunnels at every server")
	s.kubectl("cellfed", "revoke", "hz-1")
	s.becomes("False", "0")
	for _, p := range []*proxy{one, two} {
		s.eventually(p.name+" has ended the tunnels", func() bool {
			metrics, _ := p.ask("/metrics")
			return strings.Contains(metrics, `cellfed_tunnel_streams{lane="control",member="hz-1"} 0`)
		})
	}

	t.Log("Files that cannot serve end it at its start")
	dir := strings.TrimPrefix(one.command[1], "--dir=")
	for wrong, says := range map[string]string{
		"--tls-cert-file=" + dir + "/client.crt --tls-private-key-file=" + dir + "/client.key": "is not a server's",
		"--tls-private-key-file=" + dir + "/client.key":                                        "private key does not match",
		"--agent-ca-file=" + dir + "/client.key":                                               "holds no certificate",
	} {
		manager, err := harness.Binary("cellfed-manager")
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), manager, append([]string{"proxy", "--dir=" + dir, "--port=0", "--name=wrong", "--health-address="}, strings.Fields(wrong)...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v, %s", wrong, err, out)
		}
	}

	t.Log("What a server may at the plane: no secrets, and no other ConfigMaps")
	kubeconfig := strings.TrimPrefix(one.command[1], "--dir=") + "/kubeconfig"
	for _, args := range [][]string{
		{"get", "secrets", "-A"}, {"get", "configmaps", "-n", "kube-federation-system"}, {"get", "federatedconfigmaps", "-A"},
		{"delete", "kubefedcluster", "hz-1", "-n", "kube-federation-system"},
		{"create", "configmap", "x", "-n", "kube-federation-system"},
	} {
		if out, err := harness.Kubectl(t.Context(), kubeconfig, "", args...); err == nil || !strings.Contains(err.Error(), "orbidden") {
			t.Errorf("%v: %s, %v", args, out, err)
		}
	}
}

func TestAServerOfTunnelsSaysWhatItLacks(t *testing.T) {
	manager, err := harness.Binary("cellfed-manager")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "cellfed keys proxy-server"},
		{[]string{"--dir=" + t.TempDir()}, "no such file"},
		{[]string{"--tls-cert-file=" + manager}, "--tls-private-key-file is missing"},
	} {
		out, err := exec.CommandContext(t.Context(), manager, append([]string{"proxy"}, c.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.says) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: %v, %s", c.args, err, out)
		}
	}
}
