package server

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

func TestAKonnectivityClientDialsThroughTheServer(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	address := proxytest.Target(t, echo)
	c, err := d.client(t, "operator", "hz-1", address, d.clients)
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
		"somebody else":            func() (net.Conn, error) { return d.client(t, "tenant", "hz-1", address, d.clients) },
		"an agent":                 func() (net.Conn, error) { return d.client(t, "operator", "hz-1", address, d.agents) },
		"who names no member":      func() (net.Conn, error) { return d.client(t, "operator", "", address, d.clients) },
		"who names an unknown one": func() (net.Conn, error) { return d.client(t, "operator", "bj-1", address, d.clients) },
	} {
		if c, err := try(); err == nil {
			t.Errorf("%s dials", name)
			_ = c.Close()
		}
	}
}

func TestAClientReachesNoConnectionButItsOwn(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	address := proxytest.Target(t, echo)
	theirs, err := d.Dial(t.Context(), "hz-1", address, hub.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ask(t, theirs, "hello")
	conn, err := grpc.NewClient(d.address, grpc.WithTransportCredentials(d.credentials(d.clients.Issue(t, pkix.Name{CommonName: "operator"}, nil))))
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

func TestAStreamThatWasOpenedInTimeDialsNothingAfterItsCertificatesEnd(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	reached := make(chan bool, 1)
	address := proxytest.Target(t, func(net.Conn) { reached <- true })
	ends := time.Now().Add(4 * time.Second)
	conn, err := grpc.NewClient(d.address, grpc.WithTransportCredentials(d.credentials(d.clients.Issue(t, pkix.Name{CommonName: "operator"}, func(c *x509.Certificate) { c.NotAfter = ends }))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := wirepb.NewProxyServiceClient(conn).Proxy(metadata.AppendToOutgoingContext(t.Context(), ClusterHeader, "hz-1"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(ends.Add(100 * time.Millisecond)))
	_ = s.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_REQ, Payload: &wirepb.Packet_DialRequest{DialRequest: &wirepb.DialRequest{Protocol: "tcp", Address: address, Random: 7}}})
	if p, err := s.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("it is answered with %v, %v", p, err)
	}
	select {
	case <-reached:
		t.Error("the member was dialled")
	case <-time.After(100 * time.Millisecond):
	}
}
