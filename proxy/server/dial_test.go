package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

func TestAnUnmodifiedAgentServesAMemberInBothLanes(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	if agents := d.Agents("hz-1"); len(agents) != 1 || agents[0].ID != "a" || time.Until(agents[0].NotAfter) > time.Hour {
		t.Fatalf("connected are %+v", agents)
	}
	address := proxytest.Target(t, echo)
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
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	said := bytes.Repeat([]byte("all that it said "), 10000)
	c, err := d.Dial(t.Context(), "hz-1", proxytest.Target(t, func(c net.Conn) { _, _ = c.Write(said) }), hub.Control)
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
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	d.bare(t, d.agents.Agent(t, "silent", nil), "s", "")
	d.wait(t, "silent", 1)
	d.Admit("revoked", "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
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

func TestAnAgentThatDiesEndsItsConnectionsAndDialsAtOnce(t *testing.T) {
	d := open(t, hub.Options{DialTimeout: 30 * time.Second}, "hz-1")
	cert := d.agents.Agent(t, "hz-1", nil)
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
	address := proxytest.Target(t, echo)
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

func TestAHalfOpenTunnelIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for keepalives")
	}
	d := open(t, hub.Options{}, "hz-1")
	relay := newRelay(t, d.address)
	d.agent(t, relay.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	c, err := d.Dial(t.Context(), "hz-1", proxytest.Target(t, echo), hub.Control)
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
