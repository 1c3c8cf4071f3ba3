package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
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

func TestFlappingLeavesNothingBehind(t *testing.T) {
	// Many members, because one whose agents come and go all the time is refused.
	var members []string
	for n := range 100 {
		members = append(members, fmt.Sprint("m-", n))
	}
	d := open(t, hub.Options{}, members...)
	certs := map[string]tls.Certificate{}
	for _, m := range members {
		certs[m] = d.agents.Agent(t, m, nil)
	}
	address := proxytest.Target(t, echo)
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
	before := settle(t)
	for range cycles {
		cycle()
	}
	d.log.forget()
	before.isBack(t)
	if n := d.value(t, "cellfed_tunnel_streams"); n != 0 {
		t.Errorf("%v streams are counted", n)
	}
}

func TestManyStreamsOfFiveMegabytesArriveWhole(t *testing.T) {
	d := open(t, hub.Options{BulkStall: time.Minute}, "hz-1")
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	body := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(body)
	want := sha256.Sum256(body)
	address := proxytest.Target(t, func(c net.Conn) { _, _ = c.Write(body) })
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
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	address := proxytest.Target(t, echo)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	before := settle(t)
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
	before.isBack(t)
}
