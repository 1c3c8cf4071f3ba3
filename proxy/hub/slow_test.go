package hub

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/proto/agent"

	"github.com/cellfed/cellfed/proxy/identity"
)

// playedAgent is a stream of an agent that is played by a test. It holds nothing back.
type playedAgent struct {
	agent.AgentService_ConnectServer
	ctx context.Context
	in  chan *wirepb.Packet // to the hub
	ids atomic.Int64
	// closed are the connections that the hub has closed.
	closed sync.Map
}

func (w *playedAgent) Context() context.Context { return w.ctx }

func (w *playedAgent) SendHeader(metadata.MD) error { return nil }

// Send takes what the hub says. Dials are answered.
func (w *playedAgent) Send(p *wirepb.Packet) error {
	switch p.GetType() {
	case wirepb.PacketType_CLOSE_REQ:
		w.closed.Store(p.GetCloseRequest().GetConnectID(), true)
	case wirepb.PacketType_DIAL_REQ:
		answer := &wirepb.DialResponse{Random: p.GetDialRequest().GetRandom(), ConnectID: w.ids.Add(1)}
		go w.say(&wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{DialResponse: answer}})
	}
	return nil
}

func (w *playedAgent) say(p *wirepb.Packet) {
	select {
	case w.in <- p:
	case <-w.ctx.Done():
	}
}

// data sends bytes on a connection that is not closed.
func (w *playedAgent) data(c net.Conn, data []byte) {
	if _, closed := w.closed.Load(c.(*conn).id); closed {
		return
	}
	w.say(&wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{Data: &wirepb.Data{ConnectID: c.(*conn).id, Data: data}}})
}

func (w *playedAgent) Recv() (*wirepb.Packet, error) {
	select {
	case p := <-w.in:
		return p, nil
	case <-w.ctx.Done():
		return nil, io.EOF
	}
}

var _ grpc.ServerStream = (*playedAgent)(nil)

// lanesOf plays an agent with a stream in each lane.
func lanesOf(t *testing.T, h *Hub) [lanes]*playedAgent {
	t.Helper()
	h.Admit("hz-1", "abcd1234")
	cert := &x509.Certificate{NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, Subject: pkix.Name{
		CommonName: identity.Identity{Cluster: "hz-1", Enrolment: "abcd1234"}.CommonName(), Organization: []string{identity.Organization},
	}}
	var out [lanes]*playedAgent
	for lane := range out {
		out[lane] = &playedAgent{ctx: t.Context(), in: make(chan *wirepb.Packet)}
		go func() { _ = h.Serve(t.Context(), out[lane], cert, &net.TCPAddr{}) }()
		synctest.Wait()
	}
	return out
}

// pace is how a reader reads: so many bytes, then a pause, and how late it begins. Nothing = not at all.
type pace struct {
	bytes       int
	pause, late time.Duration
}

// Time stands still here but for readers' pauses, the link's pace and what the hub waits for, so that delays are exact.
func TestWhatWaitsBehindSlowReadersWaitsForNoLongerThanOneMayStall(t *testing.T) {
	const (
		packet = 32 << 10
		// ahead is how much may be on its way on a stream before what somebody waits for.
		ahead = 1 << 20
		tick  = 300 * time.Microsecond // 100 MB/s
		// silence is how long there is nothing to read at first.
		silence = time.Minute
	)
	stalled, trickling := pace{}, pace{bytes: 1 << 10, pause: 10 * time.Millisecond}
	slow, steady, quick := pace{bytes: packet, pause: 10 * time.Millisecond}, pace{bytes: packet, pause: 2 * time.Millisecond}, pace{bytes: packet, pause: time.Microsecond}
	late := quick
	late.late = 150 * time.Millisecond
	for name, c := range map[string]struct {
		readers []pace
		lane    Lane // of the slow ones; who asks is in the control lane
		most    time.Duration
		ended   int
	}{
		"one that does not read":              {[]pace{stalled}, Control, 250 * time.Millisecond, 1},
		"many that do not read":               {[]pace{stalled, stalled, stalled, stalled, stalled, stalled, stalled, stalled}, Control, 250 * time.Millisecond, 8},
		"one that hardly reads":               {[]pace{trickling}, Control, 250 * time.Millisecond, 1},
		"many that hardly read":               {[]pace{trickling, trickling, trickling, trickling, trickling, trickling}, Control, 250 * time.Millisecond, 6},
		"one that reads slowly":               {[]pace{slow}, Control, 250 * time.Millisecond, 1},
		"one that is slower than the link":    {[]pace{steady}, Control, 250 * time.Millisecond, 0},
		"a quick one":                         {[]pace{quick}, Control, 50 * time.Millisecond, 0},
		"one that is late":                    {[]pace{late}, Control, 250 * time.Millisecond, 0},
		"some of each":                        {[]pace{stalled, trickling, quick, steady}, Control, 250 * time.Millisecond, 2},
		"one in bulk that does not read":      {[]pace{stalled}, Bulk, 50 * time.Millisecond, 1},
		"many in bulk that hardly read":       {[]pace{trickling, trickling, trickling}, Bulk, 50 * time.Millisecond, 3},
		"one in bulk that reads slowly":       {[]pace{slow}, Bulk, 50 * time.Millisecond, 0},
		"one in bulk that is slower still":    {[]pace{{bytes: packet, pause: 100 * time.Millisecond}}, Bulk, 50 * time.Millisecond, 0},
		"one in bulk that reads a little bit": {[]pace{{bytes: packet, pause: time.Second}}, Bulk, 50 * time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := New(Options{})
				wires := lanesOf(t, h)
				var group sync.WaitGroup
				dial := func(lane Lane) net.Conn {
					c, err := h.Dial(t.Context(), "hz-1", "10.0.0.1:443", lane)
					if err != nil {
						t.Fatal(err)
					}
					return c
				}
				var ended, over atomic.Int64
				var readers []net.Conn
				for _, p := range c.readers {
					reader := dial(c.lane)
					readers = append(readers, reader)
					group.Go(func() {
						<-reader.(*conn).closed
						ended.Add(1 - over.Load())
					})
					if p.bytes == 0 {
						continue
					}
					group.Go(func() {
						time.Sleep(silence + p.late)
						for b := make([]byte, p.bytes); ; time.Sleep(p.pause) {
							if _, err := reader.Read(b); err != nil {
								return
							}
						}
					})
				}
				asking := dial(Control)
				worst, answers := time.Duration(0), 0
				group.Go(func() {
					for b := make([]byte, 8); ; {
						if _, err := io.ReadFull(asking, b); err != nil {
							return
						}
						worst, answers = max(worst, time.Duration(time.Now().UnixNano()-int64(binary.BigEndian.Uint64(b)))), answers+1
					}
				})
				answer := func(asked time.Time) {
					wires[Control].data(asking, binary.BigEndian.AppendUint64(nil, uint64(asked.UnixNano())))
				}
				time.Sleep(silence) // there is nothing to read, so that nobody falls behind
				end := time.Now().Add(6 * h.opts.stall(c.lane))
				if c.lane == Bulk {
					group.Go(func() {
						for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
							answer(time.Now())
						}
					})
				}
				turn, zeros := 0, make([]byte, packet)
				for time.Now().Before(end) {
					asked := time.Now()
					for range ahead / packet {
						wires[c.lane].data(readers[turn%len(readers)], zeros)
						turn++
						time.Sleep(tick)
					}
					if c.lane == Control {
						answer(asked)
					}
				}
				synctest.Wait()
				if worst > c.most {
					t.Errorf("an answer waited for %s", worst)
				}
				if n := ended.Load(); n != int64(c.ended) {
					t.Errorf("%d readers were ended, not %d", n, c.ended)
				}
				t.Logf("%d answers, of which the slowest took %s", answers, worst)
				if answers < 5 {
					t.Errorf("only %d answers arrived", answers)
				}
				over.Store(1)
				for _, r := range append(readers, asking) {
					_ = r.Close()
				}
				group.Wait()
			})
		})
	}
}
