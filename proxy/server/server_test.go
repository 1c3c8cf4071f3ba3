package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/identity"
)

// long makes the tests of load as long as they are meant to be: go test ./proxy/server -long
var long = flag.Bool("long", false, "run the tests of load in full")

// of is a size in full, or what make test has time for.
func of(full, short int) int {
	if *long {
		return full
	}
	return short
}

func ask(t testing.TB, c net.Conn, word string) {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(word))
	if _, err := io.ReadFull(c, back); err != nil || string(back) != word {
		t.Fatalf("%q came back as %q, %v", word, back, err)
	}
}

func TestAnUnmodifiedAgentServesAMemberInBothLanes(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	if agents := d.Agents("hz-1"); len(agents) != 1 || agents[0].ID != "a" || time.Until(agents[0].NotAfter) > time.Hour {
		t.Fatalf("connected are %+v", agents)
	}
	address := serveTCP(t, echo)
	for _, lane := range []hub.Lane{hub.Control, hub.Bulk} {
		c, err := d.Dial(t.Context(), "hz-1", address, lane)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, "hello")
		big := make([]byte, 3<<20)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(big)
		go func() { _, _ = c.Write(big) }()
		back := make([]byte, len(big))
		if _, err := io.ReadFull(c, back); err != nil || !bytes.Equal(big, back) {
			t.Fatalf("3 MiB came back differently: %v", err)
		}
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := c.Read(back); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a read beyond its deadline: %v", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		ask(t, c, "again")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("a closed connection can be written")
		}
	}
	if in := d.value(t, "cellfed_tunnel_bytes_total", "direction", "in", "lane", "bulk"); in < 3<<20 {
		t.Errorf("counted were %v bytes in the bulk lane", in)
	}
}

func TestTheMembersEndIsTheConnectionsEndAfterAllItSaid(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	said := bytes.Repeat([]byte("all that it said "), 10000)
	c, err := d.Dial(t.Context(), "hz-1", serveTCP(t, func(c net.Conn) { _, _ = c.Write(said) }), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, said) {
		t.Errorf("%d of %d bytes, %v", len(got), len(said), err)
	}
}

func TestDialsThatFailSayWhy(t *testing.T) {
	d := open(t, hub.Options{DialTimeout: 500 * time.Millisecond}, "hz-1", "sh-1", "silent")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	d.bare(t, d.agents.agentCert(t, "silent", nil), "s", "")
	d.wait(t, "silent", 1)
	d.Admit("revoked", "")
	closed := serveTCP(t, echo)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed = l.Addr().String()
	_ = l.Close()
	for _, c := range []struct {
		member, address, says string
		is                    any
	}{
		{"nobody", closed, "there is no such member", new(*hub.NoAgentError)},
		{"sh-1", closed, "no agent of member sh-1 is connected", new(*hub.NoAgentError)},
		{"revoked", closed, "were revoked", new(*hub.RevokedError)},
		{"hz-1", closed, "connection refused", new(*hub.RefusedError)},
		{"silent", closed, "did not answer within 500ms", new(*hub.SlowAgentError)},
	} {
		_, err := d.Dial(t.Context(), c.member, c.address, hub.Control)
		if err == nil || !strings.Contains(err.Error(), c.says) || !errors.As(err, c.is) {
			t.Errorf("%s: %v", c.member, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, "silent", closed, hub.Control); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled dial: %v", err)
	}
}

func TestAnAgentIsWhoItsCertificateSaysAndNobodyElse(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "sh-1")
	good := d.agents.agentCert(t, "hz-1", nil)
	foreign := newAuthority(t, "foreign")
	for name, c := range map[string]struct {
		stream func(t *testing.T) error
		want   string
	}{
		// Whoever fails in the handshake may learn no more than that the connection ended; the server tells why.
		"a foreign authority": {func(t *testing.T) error { return d.try(t, foreign.agentCert(t, "hz-1", nil)) }, ""},
		"an expired one": {func(t *testing.T) error {
			return d.try(t, d.agents.agentCert(t, "hz-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
		}, ""},
		"a client's": {func(t *testing.T) error {
			return d.try(t, d.clients.agentCert(t, "hz-1", nil))
		}, "not an agent's"},
		"one of a server": {func(t *testing.T) error {
			return d.try(t, d.agents.agentCert(t, "hz-1", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
		}, ""},
		"another organization": {func(t *testing.T) error {
			return d.try(t, d.agents.issue(t, pkix.Name{CommonName: identity.Identity{Cluster: "hz-1", Enrolment: enrolled}.CommonName(), Organization: []string{"system:masters"}}, nil))
		}, "organization"},
		"another enrolment": {func(t *testing.T) error {
			return d.try(t, d.agents.issue(t, pkix.Name{CommonName: identity.Identity{Cluster: "hz-1", Enrolment: "00000000"}.CommonName(), Organization: []string{identity.Organization}}, nil))
		}, "not admitted"},
		"a member that is unknown": {func(t *testing.T) error { return d.try(t, d.agents.agentCert(t, "bj-1", nil)) }, "no member bj-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.stream(t); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	for _, m := range []string{"hz-1", "sh-1"} {
		if agents := d.Agents(m); len(agents) > 0 {
			t.Errorf("%s has %+v", m, agents)
		}
	}
	// A client's handshake ends before the server has judged the certificate, so that it can know before the server counts.
	for reason, least := range map[string]float64{"expired": 1, "certificate": 4, "revoked": 1, "unknown": 1} {
		eventually(t, fmt.Sprintf("%v were refused as %s", least, reason), func() bool {
			return d.value(t, "cellfed_tunnel_refused_total", "reason", reason) >= least
		})
	}
	// What it says of itself leads nowhere.
	s := d.bare(t, good, "sh-1", "host=sh-1&ipv4=127.0.0.1&default-route=true")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	d.wait(t, "hz-1", 1)
	if agents := d.Agents("sh-1"); len(agents) > 0 {
		t.Errorf("an agent of hz-1 serves sh-1: %+v", agents)
	}
}

// first is how a stream answers: nil if it lets one in.
func first(stream interface {
	Recv() (*wirepb.Packet, error)
}) error {
	got := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-time.After(2 * time.Second):
		return nil
	}
}

func TestRevokingEndsWhatThereIs(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "sh-1")
	for _, m := range []string{"hz-1", "sh-1"} {
		d.agent(t, d.address, "a", d.agents.agentCert(t, m, nil))
		d.wait(t, m, 2)
	}
	address := serveTCP(t, echo)
	conns := map[string]net.Conn{}
	for _, m := range []string{"hz-1", "sh-1"} {
		c, err := d.Dial(t.Context(), m, address, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ask(t, c, "hello")
		conns[m] = c
	}
	d.Admit("hz-1", "")
	_ = conns["hz-1"].SetReadDeadline(time.Now().Add(5 * time.Second))
	var revoked *hub.RevokedError
	if _, err := conns["hz-1"].Read(make([]byte, 1)); !errors.As(err, &revoked) {
		t.Errorf("a connection of a revoked agent: %v", err)
	}
	ask(t, conns["sh-1"], "still here")
	time.Sleep(300 * time.Millisecond) // the agent tries again all the time
	if agents := d.Agents("hz-1"); len(agents) > 0 {
		t.Errorf("a revoked agent is back: %+v", agents)
	}
	if n := d.log.with("not admitted"); n != 1 {
		t.Errorf("that a revoked agent comes again and again was told %d times", n)
	}
	d.Admit("hz-1", enrolled)
	d.wait(t, "hz-1", 2)
}

func TestATunnelEndsWithItsCertificate(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	s := d.bare(t, d.agents.agentCert(t, "hz-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Second) }), "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	if ends := d.value(t, "cellfed_tunnel_certificate_expiry_timestamp_seconds", "member", "hz-1"); ends < float64(time.Now().Unix()) || ends > float64(time.Now().Unix()+3) {
		t.Errorf("the expiry is shown as %v", ends)
	}
	if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v", err)
	}
}

func TestAnAgentThatDiesEndsItsConnectionsAndDialsAtOnce(t *testing.T) {
	d := open(t, hub.Options{DialTimeout: 30 * time.Second}, "hz-1")
	cert := d.agents.agentCert(t, "hz-1", nil)
	s := d.bare(t, cert, "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := d.Dial(t.Context(), "hz-1", "127.0.0.1:1", hub.Control)
		waiting <- err
	}()
	if p, err := s.Recv(); err != nil || p.GetType() != wirepb.PacketType_DIAL_REQ {
		t.Fatalf("%v, %v", p, err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waiting:
		var none *hub.NoAgentError
		if !errors.As(err, &none) {
			t.Errorf("%v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a dial waits for an agent that is gone")
	}
	// Another agent gets the dial that the first one did not answer.
	s = d.bare(t, cert, "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	address := serveTCP(t, echo)
	dialled := make(chan error, 1)
	go func() {
		c, err := d.Dial(t.Context(), "hz-1", address, hub.Control)
		if err == nil {
			_ = c.Close()
		}
		dialled <- err
	}()
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	d.agent(t, d.address, "b", cert)
	d.wait(t, "hz-1", 3)
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; err != nil {
		t.Errorf("the other agent was not asked: %v", err)
	}
}

func TestAKonnectivityClientDialsThroughTheServer(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	address := serveTCP(t, echo)
	dial := func(name, member string, from *authority) (net.Conn, error) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), ClusterHeader, member)
		tunnel, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(t.Context(), ctx, d.address, grpc.WithTransportCredentials(d.credentials(from.issue(t, pkix.Name{CommonName: name}, nil))))
		if err != nil {
			return nil, err
		}
		return tunnel.DialContext(ctx, "tcp", address)
	}
	c, err := dial("operator", "hz-1", d.clients)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, c, "hello")
	big := bytes.Repeat([]byte("0123456789abcdef"), 200000)
	go func() {
		for b := big; len(b) > 0; b = b[min(len(b), 1<<20):] {
			_, _ = c.Write(b[:min(len(b), 1<<20)])
		}
	}()
	back := make([]byte, len(big))
	if _, err := io.ReadFull(c, back); err != nil || !bytes.Equal(back, big) {
		t.Errorf("3 MB came back differently: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for name, try := range map[string]func() (net.Conn, error){
		"somebody else":            func() (net.Conn, error) { return dial("tenant", "hz-1", d.clients) },
		"an agent":                 func() (net.Conn, error) { return dial("operator", "hz-1", d.agents) },
		"who names no member":      func() (net.Conn, error) { return dial("operator", "", d.clients) },
		"who names an unknown one": func() (net.Conn, error) { return dial("operator", "bj-1", d.clients) },
	} {
		if c, err := try(); err == nil {
			t.Errorf("%s dials", name)
			_ = c.Close()
		}
	}
}

func TestAClientReachesNoConnectionButItsOwn(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	address := serveTCP(t, echo)
	theirs, err := d.Dial(t.Context(), "hz-1", address, hub.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ask(t, theirs, "hello")
	conn, err := grpc.NewClient(d.address, grpc.WithTransportCredentials(d.credentials(d.clients.issue(t, pkix.Name{CommonName: "operator"}, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for id := int64(-2); id < 40; id++ {
		if id == frontID {
			continue
		}
		for _, evil := range []*wirepb.Packet{
			{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{Data: &wirepb.Data{ConnectID: id, Data: []byte("evil")}}},
			{Type: wirepb.PacketType_CLOSE_REQ, Payload: &wirepb.Packet_CloseRequest{CloseRequest: &wirepb.CloseRequest{ConnectID: id}}},
		} {
			s, err := wirepb.NewProxyServiceClient(conn).Proxy(metadata.AppendToOutgoingContext(t.Context(), ClusterHeader, "hz-1"))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_REQ, Payload: &wirepb.Packet_DialRequest{DialRequest: &wirepb.DialRequest{Protocol: "tcp", Address: address, Random: 7}}}); err != nil {
				t.Fatal(err)
			}
			if p, err := s.Recv(); err != nil || p.GetDialResponse().GetConnectID() != frontID {
				t.Fatalf("%v, %v", p, err)
			}
			if err := s.Send(evil); err != nil {
				t.Fatal(err)
			}
			for err = nil; err == nil; _, err = s.Recv() {
			}
			if status.Code(err) != codes.InvalidArgument {
				t.Fatalf("%s for connection %d: %v", evil.GetType(), id, err)
			}
		}
	}
	ask(t, theirs, "still mine")
}

// evil sends whatever could touch another member, and comes back when it is thrown out.
func evil(t testing.TB, d *door, member string, stop <-chan struct{}) {
	cert := d.agents.agentCert(t, member, nil)
	r := rand.New(rand.NewPCG(1, 2))
	for {
		s, end := d.brief(t, cert, "agent", "default-route=true")
		for n := 0; ; n++ {
			select {
			case <-stop:
				end()
				return
			default:
			}
			if s.Send(evilPacket(r)) != nil {
				break
			}
			if n%200 == 199 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		end()
		time.Sleep(20 * time.Millisecond)
	}
}

func evilPacket(r *rand.Rand) *wirepb.Packet {
	id := r.Int64N(50)
	switch r.IntN(50) {
	case 0: // without what belongs to its type
		return &wirepb.Packet{Type: wirepb.PacketType(r.IntN(12))}
	case 1:
		return &wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{DialResponse: &wirepb.DialResponse{Random: r.Int64(), ConnectID: id}}}
	}
	switch r.IntN(4) {
	case 0:
		return &wirepb.Packet{Type: wirepb.PacketType_CLOSE_RSP, Payload: &wirepb.Packet_CloseResponse{CloseResponse: &wirepb.CloseResponse{ConnectID: id}}}
	case 1:
		return &wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{DialResponse: &wirepb.DialResponse{Random: r.Int64(), Error: "EVIL"}}}
	case 2:
		return &wirepb.Packet{Type: wirepb.PacketType_DIAL_CLS, Payload: &wirepb.Packet_CloseDial{CloseDial: &wirepb.CloseDial{Random: r.Int64()}}}
	}
	return &wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{Data: &wirepb.Data{ConnectID: id, Data: []byte("EVIL")}}}
}

func TestBytesNeverReachAnotherMember(t *testing.T) {
	members := []string{"hz-1", "sh-1", "sz-1"}
	d := open(t, hub.Options{}, append(members, "evil")...)
	stop := make(chan struct{})
	var evils sync.WaitGroup
	for range 3 {
		evils.Go(func() { evil(t, d, "evil", stop) })
	}
	address := map[string]string{}
	for _, m := range members {
		// Each member answers with its name, so that a byte from the wrong one is seen.
		address[m] = serveTCP(t, func(c net.Conn) {
			word := make([]byte, 8)
			for {
				if _, err := io.ReadFull(c, word); err != nil {
					return
				}
				if _, err := fmt.Fprintf(c, "%s:%s", m, word); err != nil {
					return
				}
			}
		})
		for _, id := range []string{"same-name", "same-name", "another"} {
			d.agent(t, d.address, id, d.agents.agentCert(t, m, nil))
		}
	}
	for _, m := range members {
		d.wait(t, m, 6)
	}
	total := of(1000000, 20000)
	var group sync.WaitGroup
	for w := range 12 {
		group.Go(func() {
			m := members[w%3]
			var c net.Conn
			for n := range total / 12 {
				if c == nil {
					var err error
					if c, err = d.Dial(t.Context(), m, address[m], hub.Lane(n%2)); err != nil {
						t.Errorf("dialling %s: %v", m, err)
						return
					}
				}
				want := fmt.Sprintf("%s:%08d", m, n)
				if _, err := c.Write([]byte(want[len(m)+1:])); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
					t.Errorf("%s answered %q instead of %q, %v", m, got, want, err)
					return
				}
				if n%50 == 49 {
					_ = c.Close()
					c = nil
				}
			}
			if c != nil {
				_ = c.Close()
			}
		})
	}
	group.Wait()
	close(stop)
	evils.Wait()
	if n := d.value(t, "cellfed_tunnel_stray_packets_total"); n < 100 {
		t.Errorf("only %v of the evil packets arrived", n)
	}
	t.Logf("%d requests, %v stray packets", total, d.value(t, "cellfed_tunnel_stray_packets_total"))
}

func TestAFloodEndsTheStreamThatItComesFrom(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "evil")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	s := d.bare(t, d.agents.agentCert(t, "evil", nil), "e", "")
	stray := &wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{Data: &wirepb.Data{ConnectID: 77, Data: []byte("x")}}}
	var err error
	for n := 0; err == nil && n < 1000000; n++ {
		err = s.Send(stray)
	}
	if err == nil {
		t.Fatal("a million packets for nobody were taken")
	}
	for err = nil; err == nil; _, err = s.Recv() {
	}
	if !strings.Contains(err.Error(), "floods") {
		t.Errorf("%v", err)
	}
	c, err := d.Dial(t.Context(), "hz-1", serveTCP(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "unharmed")
}

func TestAnAgentThatComesAndGoesAllTheTimeIsRefusedAndHurtsNobody(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "flapping")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	cert := d.agents.agentCert(t, "flapping", nil)
	refused := false
	for n := 0; n < 2000 && !refused; n++ {
		s, end := d.brief(t, cert, "f", "")
		if h, err := s.Header(); err != nil || len(h.Get("serverid")) == 0 {
			_, err = s.Recv()
			refused = status.Code(err) == codes.ResourceExhausted
		}
		end()
	}
	if !refused || d.value(t, "cellfed_tunnel_refused_total", "reason", "often") == 0 {
		t.Error("2000 streams in a row were let in")
	}
	eventually(t, "what it left is gone", func() bool { return d.value(t, "cellfed_tunnel_streams", "member", "flapping") == 0 })
	if n := d.value(t, "cellfed_tunnel_agents", "member", "flapping"); n != 0 {
		t.Errorf("%v agents are shown", n)
	}
	c, err := d.Dial(t.Context(), "hz-1", serveTCP(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "unharmed")
}

func TestWhatAnAgentSaysIsCutToWhatAStatusHolds(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	s := d.bare(t, d.agents.agentCert(t, "hz-1", nil), "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p, err := s.Recv()
		if err != nil {
			return
		}
		_ = s.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{
			DialResponse: &wirepb.DialResponse{Random: p.GetDialRequest().GetRandom(), Error: strings.Repeat("no\n", 1<<20/3)},
		}})
	}()
	_, err := d.Dial(t.Context(), "hz-1", "127.0.0.1:1", hub.Control)
	if err == nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%d bytes: %.100v", len(fmt.Sprint(err)), err)
	}
}

// An agent that lets nothing be sent to it, and answers dials that nobody made: what it is to be told must not pile up.
func TestAnAgentThatTakesNothingIsEnded(t *testing.T) {
	d := open(t, hub.Options{SendStall: time.Minute}, "hz-1")
	s := d.bare(t, d.agents.agentCert(t, "hz-1", nil), "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	most := 0
	var err error
	for n := int64(1); err == nil && n < 200000; n++ { // and never a Recv: its window fills
		err = s.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{DialResponse: &wirepb.DialResponse{Random: n, ConnectID: n}}})
		most = max(most, runtime.NumGoroutine())
	}
	if err == nil {
		t.Error("200,000 answers to nothing were taken")
	}
	if most > before+5000 {
		t.Errorf("up to %d goroutines waited for it", most-before)
	}
}

func TestASlowReaderIsEndedAndHoldsUpNobodyInTheOtherLane(t *testing.T) {
	d := open(t, hub.Options{BulkStall: time.Second}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	endless := serveTCP(t, func(c net.Conn) {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	address := serveTCP(t, echo)
	for _, lane := range []hub.Lane{hub.Bulk, hub.Control} {
		slow, err := d.Dial(t.Context(), "hz-1", endless, lane)
		if err != nil {
			t.Fatal(err)
		}
		control, err := d.Dial(t.Context(), "hz-1", address, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		worst := time.Duration(0)
		for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			began := time.Now()
			ask(t, control, "hello")
			worst = max(worst, time.Since(began))
		}
		t.Logf("with a reader that does not read in lane %s, the slowest control request took %s", lane, worst)
		if stalled := d.value(t, "cellfed_tunnel_stalled_connections_total", "lane", lane.String()); stalled != 1 {
			t.Errorf("%v readers of lane %s were ended", stalled, lane)
		}
		_ = slow.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, slow); err == nil || !strings.Contains(err.Error(), "nobody read") {
			t.Errorf("the slow one was told %v", err)
		}
		_ = control.Close()
	}
}

func TestAHalfOpenTunnelIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for keepalives")
	}
	d := open(t, hub.Options{}, "hz-1")
	relay := newRelay(t, d.address)
	d.agent(t, relay.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	c, err := d.Dial(t.Context(), "hz-1", serveTCP(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "hello")
	relay.freeze()
	began := time.Now()
	_ = c.SetReadDeadline(began.Add(30 * time.Second))
	_, err = c.Read(make([]byte, 1))
	took := time.Since(began)
	if err == nil || took > 25*time.Second { // 12s, and what a busy machine adds
		t.Fatalf("after %s: %v", took, err)
	}
	t.Logf("noticed after %s: %v", took, err)
	eventually(t, "both streams are gone", func() bool { return len(d.Agents("hz-1")) == 0 })
	began = time.Now()
	if _, err := d.Dial(t.Context(), "hz-1", "127.0.0.1:1", hub.Control); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("a dial afterwards took %s: %v", time.Since(began), err)
	}
}

// relay passes bytes on until it is frozen; then it keeps the connections and passes nothing.
type relay struct {
	address string
	frozen  chan struct{}
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{frozen: make(chan struct{})}
	ended := t.Context().Done()
	pass := func(dst, src net.Conn) {
		b := make([]byte, 32<<10)
		for {
			n, err := src.Read(b)
			select {
			case <-r.frozen:
				<-ended
				return
			default:
			}
			if n > 0 {
				_, _ = dst.Write(b[:n])
			}
			if err != nil {
				_ = dst.Close()
				return
			}
		}
	}
	r.address = serveTCP(t, func(in net.Conn) {
		select {
		case <-r.frozen:
			<-ended
			return
		default:
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer out.Close()
		go pass(in, out)
		pass(out, in)
	})
	return r
}

func (r *relay) freeze() { close(r.frozen) }

func TestWithTwoServersOneMayDie(t *testing.T) {
	one, two := open(t, hub.Options{Name: "one"}, "hz-1"), (*door)(nil)
	two = &door{serving: one.serving, agents: one.agents, clients: one.clients, registry: newRegistry(), log: &lines{}}
	two.listen(t, hub.Options{Name: "two"}, "127.0.0.1:0", "hz-1")
	cert := one.agents.agentCert(t, "hz-1", nil)
	for _, d := range []*door{one, two} {
		d.agent(t, d.address, "a", cert)
		d.wait(t, "hz-1", 2)
	}
	address := serveTCP(t, echo)
	at := one.address
	one.stop()
	c, err := two.Dial(t.Context(), "hz-1", address, hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, c, "hello")
	_ = c.Close()
	one.registry = newRegistry()
	one.listen(t, hub.Options{Name: "one"}, at, "hz-1")
	one.wait(t, "hz-1", 2)
}

func TestFlappingLeavesNothingBehind(t *testing.T) {
	// Many members, because one whose agents come and go all the time is refused.
	var members []string
	for n := range 100 {
		members = append(members, fmt.Sprint("m-", n))
	}
	d := open(t, hub.Options{}, members...)
	certs := map[string]tls.Certificate{}
	for _, m := range members {
		certs[m] = d.agents.agentCert(t, m, nil)
	}
	address := serveTCP(t, echo)
	turn := 0
	cycle := func() {
		turn++
		member := members[turn%len(members)]
		s, end := d.brief(t, certs[member], "a", "")
		defer end()
		if _, err := s.Header(); err != nil {
			t.Fatal(err)
		}
		dialled := make(chan net.Conn, 1)
		go func() {
			c, _ := d.Dial(t.Context(), member, address, hub.Control)
			dialled <- c
		}()
		p, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		answer := &wirepb.DialResponse{Random: p.GetDialRequest().GetRandom(), ConnectID: 1}
		if err := s.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{DialResponse: answer}}); err != nil {
			t.Fatal(err)
		}
		c := <-dialled
		if c == nil {
			t.Fatal("the dial failed")
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c) // until it ends with its agent
		_ = c.Close()
	}
	cycles := of(10000, 300)
	for range 20 {
		cycle()
	}
	before := settled(t)
	for range cycles {
		cycle()
	}
	eventually(t, "goroutines are as many as before", func() bool { return runtime.NumGoroutine() <= before+10 })
	if n := d.value(t, "cellfed_tunnel_streams"); n != 0 {
		t.Errorf("%v streams are counted", n)
	}
}

// settled is how many goroutines there are when nothing happens.
func settled(t *testing.T) int {
	t.Helper()
	last := -1
	eventually(t, "nothing happens", func() bool {
		n := runtime.NumGoroutine()
		same := n == last
		last = n
		time.Sleep(100 * time.Millisecond)
		return same
	})
	return last
}

func TestManyStreamsOfFiveMegabytesArriveWhole(t *testing.T) {
	d := open(t, hub.Options{BulkStall: time.Minute}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	body := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(body)
	want := sha256.Sum256(body)
	address := serveTCP(t, func(c net.Conn) { _, _ = c.Write(body) })
	streams := of(2000, 60)
	slots := make(chan struct{}, 200)
	var group sync.WaitGroup
	for range streams {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c, err := d.Dial(t.Context(), "hz-1", address, hub.Bulk)
			if err != nil {
				t.Errorf("dialling: %v", err)
				return
			}
			defer c.Close()
			sum := sha256.New()
			if n, err := io.Copy(sum, c); err != nil || n != int64(len(body)) || [32]byte(sum.Sum(nil)) != want {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	group.Wait()
}

func TestDialsOfWhichAThirdFailLeakNothing(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	address := serveTCP(t, echo)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	before := settled(t)
	total := of(100000, 2000)
	var group sync.WaitGroup
	for w := range 16 {
		group.Go(func() {
			for n := range total / 16 {
				switch {
				case n%10 < 2:
					if _, err := d.Dial(t.Context(), "hz-1", closed, hub.Lane(w%2)); err == nil {
						t.Error("a dial to nobody succeeded")
						return
					}
				case n%10 < 3:
					ctx, cancel := context.WithCancel(t.Context())
					go cancel()
					if c, err := d.Dial(ctx, "hz-1", address, hub.Lane(w%2)); err == nil {
						_ = c.Close()
					}
					cancel()
				default:
					c, err := d.Dial(t.Context(), "hz-1", address, hub.Lane(w%2))
					if err != nil {
						t.Errorf("a good dial: %v", err)
						return
					}
					_ = c.Close()
				}
			}
		})
	}
	group.Wait()
	eventually(t, "goroutines are as many as before", func() bool { return runtime.NumGoroutine() <= before+10 })
}

func TestGarbageAtTheDoorIsToldOnceAndHurtsNobody(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	for n := range 30 {
		c, err := net.Dial("tcp", d.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(strings.Repeat("GET / HTTP/1.1\r\n\r\n", n+1)))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	// Who is refused can see the end of the connection before the server counts it.
	eventually(t, "30 are counted", func() bool {
		return d.value(t, "cellfed_tunnel_refused_total", "reason", "handshake") == 30
	})
	if n := d.log.with(`"reason"="handshake"`); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	c, err := d.Dial(t.Context(), "hz-1", serveTCP(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "unharmed")
}
