package server

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

func TestAFloodEndsTheStreamThatItComesFrom(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "evil")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	s := d.bare(t, d.agents.Agent(t, "evil", nil), "e", "")
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
	c, err := d.Dial(t.Context(), "hz-1", proxytest.Target(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "unharmed")
}

func TestAnAgentThatComesAndGoesAllTheTimeIsRefusedAndHurtsNobody(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "flapping")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	cert := d.agents.Agent(t, "flapping", nil)
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
	c, err := d.Dial(t.Context(), "hz-1", proxytest.Target(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "unharmed")
}

func TestWhatAnAgentSaysIsCutToWhatAStatusHolds(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	s := d.bare(t, d.agents.Agent(t, "hz-1", nil), "a", "")
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
	s := d.bare(t, d.agents.Agent(t, "hz-1", nil), "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	// And never a Recv: its window fills. Not even that it was ended may reach it, behind what it does not take.
	go func() {
		for n := int64(1); n < 200000; n++ {
			if s.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{DialResponse: &wirepb.DialResponse{Random: n, ConnectID: n}}}) != nil {
				return
			}
		}
	}()
	most := 0
	eventually(t, "the agent is ended", func() bool {
		most = max(most, runtime.NumGoroutine())
		return len(d.Agents("hz-1")) == 0
	})
	if most > before+5000 {
		t.Errorf("up to %d goroutines waited for it", most-before)
	}
}

func TestGarbageAtTheDoorIsToldOnceAndHurtsNobody(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
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
	eventually(t, "all 30 were counted", func() bool { return d.value(t, "cellfed_tunnel_refused_total", "reason", "handshake") == 30 })
	if n := d.log.with(`"reason"="handshake"`); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	c, err := d.Dial(t.Context(), "hz-1", proxytest.Target(t, echo), hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask(t, c, "unharmed")
}
