package server

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

// evil sends whatever could touch another member, and comes back when it is thrown out.
func evil(t testing.TB, d *door, member string, stop <-chan struct{}) {
	cert := d.agents.Agent(t, member, nil)
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
		address[m] = proxytest.Target(t, func(c net.Conn) {
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
			d.agent(t, d.address, id, d.agents.Agent(t, m, nil))
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
