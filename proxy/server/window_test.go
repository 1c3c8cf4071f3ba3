package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/agent"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

// shown are an agent's credentials that stay.
type shown struct{ cert *tls.Certificate }

// Current implements agent.Credentials.
func (s shown) Current() (*tls.Certificate, <-chan struct{}) { return s.cert, nil }

// ours runs our own agent, which knows windows.
func (d *door) ours(t testing.TB, member string, allow ...string) {
	t.Helper()
	cert := d.agents.Agent(t, member, nil)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	cert.Leaf = leaf
	a, err := agent.New(agent.Options{
		Servers: []string{d.address}, Credentials: shown{&cert}, ServerCA: func() (*x509.CertPool, error) { return d.serving.Pool, nil },
		Allow: allow, Drain: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	d.wait(t, member, 2)
}

// A file that is written to a slow disk, and logs in a pager: with an agent that keeps to windows, nobody is ended for it.
func TestWhoIsSlowHoldsUpItsOwnWriterAndNobodyElse(t *testing.T) {
	d := open(t, hub.Options{ControlStall: 100 * time.Millisecond, BulkStall: 100 * time.Millisecond}, "hz-1")
	const all = 16 << 20 // more than windows and kernels take
	wake := make(chan struct{})
	slow := proxytest.Target(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "x") // so that it is known to be connected
		<-wake
		n, _ := io.CopyN(io.Discard, c, all)
		if n == all {
			_, _ = io.WriteString(c, "all")
		}
	})
	large := proxytest.Target(t, func(c net.Conn) { _, _ = c.Write(make([]byte, all)) })
	quick := proxytest.Target(t, echo)
	d.ours(t, "hz-1", slow, large, quick)
	dial := func(address string, lane hub.Lane) net.Conn {
		t.Helper()
		c, err := d.Dial(t.Context(), "hz-1", address, lane)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	lanes := []hub.Lane{hub.Control, hub.Bulk}
	var up, down, others []net.Conn
	for _, lane := range lanes {
		up, down, others = append(up, dial(slow, lane)), append(down, dial(large, lane)), append(others, dial(quick, lane))
	}
	written := make(chan error, len(up))
	for _, c := range up {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := c.Write(make([]byte, all))
			written <- err
		}()
	}
	// Several times as long as anybody may hold up a stream here, on both sides.
	worst := time.Duration(0)
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, c := range others {
			began := time.Now()
			ask(t, c, "hello")
			worst = max(worst, time.Since(began))
		}
	}
	t.Logf("with four connections that stand still, the slowest request of the others took %s", worst)
	select {
	case err := <-written:
		t.Errorf("16 MiB went to somebody who took none: %v", err)
	default:
	}

	close(wake)
	for range up {
		if err := <-written; err != nil {
			t.Errorf("writing to who is slow: %v", err)
		}
	}
	for i, lane := range lanes {
		if said, err := io.ReadAll(up[i]); err != nil || string(said) != "all" {
			t.Errorf("who was slow in lane %s says %q: %v", lane, said, err)
		}
		if n, err := io.Copy(io.Discard, down[i]); err != nil || n != all {
			t.Errorf("a slow reader in lane %s got %d bytes: %v", lane, n, err)
		}
		if n := d.value(t, "cellfed_tunnel_stalled_connections_total", "lane", lane.String()); n != 0 {
			t.Errorf("%v readers of lane %s were ended", n, lane)
		}
	}
}

// A client that leaves while the member takes nothing leaves nothing behind.
func TestAClientThatIsGoneIsNoticedWhileNothingIsTaken(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	end := make(chan struct{})
	deaf := proxytest.Target(t, func(net.Conn) { <-end })
	defer close(end)
	d.ours(t, "hz-1", deaf)
	conn, err := grpc.NewClient(d.address, grpc.WithTransportCredentials(d.credentials(d.clients.Issue(t, pkix.Name{CommonName: "operator"}, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, leave := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), ClusterHeader, "hz-1"))
	defer leave()
	stream, err := wirepb.NewProxyServiceClient(conn).Proxy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_REQ, Payload: &wirepb.Packet_DialRequest{
		DialRequest: &wirepb.DialRequest{Protocol: "tcp", Address: deaf, Random: 1},
	}}); err != nil {
		t.Fatal(err)
	}
	if p, err := stream.Recv(); err != nil || p.GetDialResponse().GetError() != "" {
		t.Fatalf("the dial was answered with %v: %v", p, err)
	}
	sent := make(chan int, 1)
	go func() {
		n := 0
		for ; n < 1024; n++ {
			if stream.Send(&wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{
				Data: &wirepb.Data{ConnectID: frontID, Data: make([]byte, 32<<10)},
			}}) != nil {
				break
			}
		}
		sent <- n
	}()
	carries := func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "window.(*Credit).Spend")
	}
	eventually(t, "what is sent waits for the member", carries)
	leave()
	eventually(t, "nobody waits any more", func() bool { return !carries() })
	if n := <-sent; n == 1024 {
		t.Errorf("32 MiB went to somebody who took none")
	}
}
