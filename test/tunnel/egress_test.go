package tunnel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cellfed/cellfed/proxy/proxytest"
)

// egress is an HTTP proxy that carries CONNECT, as the way out of many a member's network is. Names that it alone knows lead
// to loopback. It counts what it carried.
func egress(t *testing.T, carried *atomic.Int64) string {
	t.Helper()
	return "http://" + proxytest.Target(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		ask, err := http.ReadRequest(in)
		if err != nil || ask.Method != http.MethodConnect {
			return
		}
		_, port, _ := net.SplitHostPort(ask.Host)
		up, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return
		}
		defer func() { _ = up.Close() }()
		carried.Add(1)
		_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(up, in)
			_ = up.Close()
		}()
		_, _ = io.Copy(c, up)
	})
}

func TestAnAgentGoesThroughAnEgressProxyToAPlaneWhoseNameOnlyThatKnows(t *testing.T) {
	s := newSiteWith(t, "", "", []string{"--tunnel-port=-1"})
	one := s.proxy("one", "proxy.test")
	s.eventually("join knows of it", func() bool {
		return strings.Contains(s.kubectl("get", "configmap", "cellfed-tunnel-servers", "-n", "kube-federation-system", "-o", "jsonpath={.data}"), one.address)
	})
	dir, command := s.join()
	kill := s.agent(command)
	s.becomes("True", "1")
	kill()
	s.becomes("False", "0")

	var carried atomic.Int64
	t.Setenv("HTTPS_PROXY", egress(t, &carried))
	t.Setenv("NO_PROXY", "")
	_, port, _ := net.SplitHostPort(one.address)
	certificate := findCertificate(t, dir)
	s.agent([]string{"--server=proxy.test:" + port, "--ca-file=" + filepath.Join(dir, "plane-ca.crt"), "--client-certificate=" + certificate, "--client-key=" + certificate,
		"--member-endpoint=" + s.member.Config.Host, "--metrics-address="})
	s.becomes("True", "1")
	if n := carried.Load(); n < 2 {
		t.Errorf("the egress proxy carried %d connections, and there are two tunnels", n)
	}
}
