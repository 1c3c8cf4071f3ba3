package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server/proxystrategies"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"
)

// stock is an unmodified server of apiserver-network-proxy, with the port for its clients.
type stock struct {
	*server.ProxyServer
	frontend string
}

func newStock(t *testing.T, id string, count int) *stock {
	t.Helper()
	s := &stock{ProxyServer: server.NewProxyServer(id, []proxystrategies.ProxyStrategy{proxystrategies.ProxyStrategyDefault}, count, &server.AgentTokenAuthenticationOptions{}, 10)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := grpc.NewServer()
	client.RegisterProxyServiceServer(front, s.ProxyServer)
	go func() { _ = front.Serve(l) }()
	t.Cleanup(front.Stop)
	s.frontend = l.Addr().String()
	return s
}

// dial reaches an address through the server, by the unmodified client.
func (s *stock) dial(ctx context.Context, network, address string) (net.Conn, error) {
	tunnel, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(ctx, context.Background(), s.frontend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return tunnel.DialContext(ctx, network, address)
}

// lanes are several servers behind one address, of which each stream gets the next.
type lanes struct {
	agentproto.UnimplementedAgentServiceServer
	servers []*stock
	next    atomic.Int64
}

func (l *lanes) Connect(stream agentproto.AgentService_ConnectServer) error {
	return l.servers[int(l.next.Add(1)-1)%len(l.servers)].Connect(stream)
}

func api(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(w, r.Body)
			return
		}
		_, _ = fmt.Fprint(w, strings.Repeat("x", 1<<20))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestAnUnmodifiedServerTakesItForAnAgent(t *testing.T) {
	p, s, address := newPKI(), newStock(t, "stock", 1), api(t)
	_, at := p.serve(t, "127.0.0.1:0", func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, s.ProxyServer) })
	a := p.agent(t, Options{Servers: []string{at}, Allow: []string{address}})
	eventually(t, "the server has an agent", func() bool { ready, _ := s.Readiness.Ready(); return ready })
	web := &http.Client{Transport: &http.Transport{DialContext: s.dial}, Timeout: soon}
	for range 20 {
		resp, err := web.Get("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || len(body) != 1<<20 {
			t.Fatalf("%d bytes came, %v", len(body), err)
		}
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB there and back
	resp, err := web.Post("http://"+address, "", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !bytes.Equal(body, sent) {
		t.Fatalf("%d bytes came back, %v", len(body), err)
	}
	web.CloseIdleConnections()
	eventually(t, "no connection is left when the client has closed its own", func() bool { return a.counts.connections.Load() == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if c, err := s.dial(ctx, "tcp", "127.0.0.1:1"); err == nil || c != nil {
		t.Error("an address that is not allowed was reached")
	}
	if a.metric(`dials_total{result="refused"}`) != "1" || a.metric("streams") != "1" {
		t.Error("the metrics do not tell of it")
	}
}

func TestEachServerBehindAnAddressGetsAStream(t *testing.T) {
	p, address := newPKI(), api(t)
	both := &lanes{servers: []*stock{newStock(t, "ctl", 2), newStock(t, "bulk", 2)}}
	_, at := p.serve(t, "127.0.0.1:0", func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, both) })
	a := p.agent(t, Options{Servers: []string{at}, Allow: []string{address}})
	eventually(t, "two streams are held", func() bool { return a.counts.streams.Load() == 2 })
	for _, s := range both.servers {
		resp, err := (&http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}, Timeout: soon}).Get("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	time.Sleep(300 * time.Millisecond)
	if n := both.next.Load(); n != 2 {
		t.Errorf("%d streams were opened for two servers", n)
	}
}

func TestAServerThatAnswersTwiceIsNotHeldTwice(t *testing.T) {
	p := newPKI()
	one := newStock(t, "one", 2) // it says that there are two, and there is one
	_, at := p.serve(t, "127.0.0.1:0", func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, one.ProxyServer) })
	a := p.agent(t, Options{Servers: []string{at}, MaxBackoff: 100 * time.Millisecond})
	eventually(t, "a stream is held", func() bool { return a.counts.streams.Load() == 1 })
	time.Sleep(500 * time.Millisecond)
	if n := a.counts.streams.Load(); n != 1 || a.Connected() != nil {
		t.Errorf("%d streams are held, %v", n, a.Connected())
	}
}

func TestEachAddressIsKeptUpOnItsOwn(t *testing.T) {
	p, s := newPKI(), newStock(t, "alive", 1)
	_, at := p.serve(t, "127.0.0.1:0", func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, s.ProxyServer) })
	a := p.agent(t, Options{Servers: []string{"127.0.0.1:1", at}})
	eventually(t, "the address that answers is connected", func() bool { return a.Connected() == nil })
	eventually(t, "the other is told of", func() bool { return strings.Contains(a.logs.String(), "connection refused") })
}

func TestAServerThatComesBackIsConnectedAgain(t *testing.T) {
	p, s, address := newPKI(), newStock(t, "stock", 1), api(t)
	first, at := p.serve(t, "127.0.0.1:0", func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, s.ProxyServer) })
	a := p.agent(t, Options{Servers: []string{at}, Allow: []string{address}, MaxBackoff: 500 * time.Millisecond})
	eventually(t, "it is connected", func() bool { return a.Connected() == nil })
	first.Stop()
	eventually(t, "it is not ready without a server", func() bool { return a.Connected() != nil })
	again := newStock(t, "stock", 1)
	p.serve(t, at, func(g *grpc.Server) { agentproto.RegisterAgentServiceServer(g, again.ProxyServer) })
	eventually(t, "it is connected again", func() bool { return a.Connected() == nil })
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: again.dial}, Timeout: soon}).Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}
