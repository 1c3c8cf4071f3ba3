package hub

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/proto/agent"

	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/window"
	"github.com/cellfed/cellfed/proxy/wire"
)

const (
	// maxPending bounds the dials of a stream that wait for an answer.
	maxPending = 10000
	// Packets that belong to nothing are normal for a moment after a connection was closed here. A flood of them is not.
	maxLater   = 2048 // packets that wait for an agent to take them
	strayBurst = 20000
	strayRate  = 2000 // per second
)

// stream is one stream of an agent, with everything that runs over it.
type stream struct {
	hub      *Hub
	wire     agent.AgentService_ConnectServer
	who      identity.Identity
	agent    string
	lane     Lane
	since    time.Time
	notAfter time.Time
	// window is how much of each connection may be under way to the agent, 0 when it knows no windows.
	window   int64
	draining atomic.Bool

	// sending admits one sender; sentAt is when the one that is at it began, 0 if nobody is.
	sending chan struct{}
	sentAt  atomic.Int64
	// held is how many bytes wait for readers, and later how many packets for the agent that nobody waits for.
	held, later atomic.Int64
	// received and sent count bytes for all streams of the lane.
	received, sent prometheus.Counter

	over chan struct{} // closed when the stream ends

	mu      sync.Mutex
	why     error // set when over is closed
	dials   map[int64]*pending
	conns   map[int64]*conn
	strays  float64
	strayed time.Time
}

// pending is a dial that waits for its answer.
type pending struct {
	conn   *conn
	answer chan error
}

func newStream(h *Hub, wire agent.AgentService_ConnectServer, who identity.Identity, agentID string, lane Lane, notAfter time.Time) *stream {
	return &stream{
		hub: h, wire: wire, who: who, agent: agentID, lane: lane, since: time.Now(), notAfter: notAfter,
		received: h.metrics.bytes.WithLabelValues("in", lane.String()), sent: h.metrics.bytes.WithLabelValues("out", lane.String()),
		sending: make(chan struct{}, 1), over: make(chan struct{}), dials: map[int64]*pending{}, conns: map[int64]*conn{},
	}
}

// run takes what the agent sends until the stream or ctx ends, and returns why.
func (s *stream) run(ctx context.Context) error {
	received := make(chan error, 1)
	go func() { received <- s.receive() }()
	expired := time.NewTimer(time.Until(s.notAfter))
	defer expired.Stop()
	look := time.NewTicker(s.hub.opts.SendStall / 4)
	defer look.Stop()
	for {
		select {
		case err := <-received:
			s.end(fmt.Errorf("%w: %w", errGone, err))
			return err
		case <-s.over:
			return status.Error(codes.Aborted, s.ended().Error())
		case <-ctx.Done():
			s.end(context.Cause(ctx))
			return status.Error(codes.Aborted, s.ended().Error())
		case <-expired.C:
			s.end(errors.New("the agent's certificate has expired"))
		case now := <-look.C:
			if !now.Before(s.notAfter) { // the timer stands still while a machine is suspended
				s.end(errors.New("the agent's certificate has expired"))
			}
			if at := s.sentAt.Load(); at != 0 && now.Sub(time.Unix(0, at)) > s.hub.opts.SendStall {
				s.end(errors.New("the agent takes nothing any more"))
			}
		}
	}
}

// end ends the stream, with all its connections and dials. The first reason stays.
func (s *stream) end(why error) {
	s.mu.Lock()
	if s.why != nil {
		s.mu.Unlock()
		return
	}
	s.why = why
	close(s.over)
	dials, conns := s.dials, s.conns
	s.dials, s.conns = map[int64]*pending{}, map[int64]*conn{}
	s.mu.Unlock()
	for _, p := range dials {
		p.answer <- why
	}
	for _, c := range conns {
		c.fail(why)
	}
}

// ended is why the stream has ended; nil while it lives.
func (s *stream) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// send sends a packet, after those of others. It gives up when ctx's or the stream's end comes first.
func (s *stream) send(stop <-chan struct{}, p *wirepb.Packet) error {
	select {
	case s.sending <- struct{}{}:
	case <-stop:
		return errStopped
	case <-s.over:
		return s.ended()
	}
	s.sentAt.Store(time.Now().UnixNano())
	err := s.wire.Send(p)
	s.sentAt.Store(0)
	<-s.sending
	if err != nil {
		s.end(fmt.Errorf("%w: %w", errGone, err))
		return s.ended()
	}
	return nil
}

// errStopped says that whoever sent did not wait any longer.
var errStopped = errors.New("stopped")

// sendLater sends what nobody waits for. An agent that takes none of it is ended, or what waits would grow without end. It
// must not be called with a lock held.
func (s *stream) sendLater(p *wirepb.Packet) {
	if s.later.Add(1) > maxLater {
		s.later.Add(-1)
		s.end(errors.New("the agent takes nothing any more"))
		return
	}
	go func() {
		defer s.later.Add(-1)
		_ = s.send(nil, p) // it fails when the stream has ended, and then it is of no use
	}()
}

func closeRequest(id int64) *wirepb.Packet {
	return &wirepb.Packet{Type: wirepb.PacketType_CLOSE_REQ, Payload: &wirepb.Packet_CloseRequest{CloseRequest: &wirepb.CloseRequest{ConnectID: id}}}
}

// dial asks the agent for a connection.
func (s *stream) dial(ctx context.Context, address string) (*conn, error) {
	p := &pending{conn: newConn(s, address), answer: make(chan error, 1)}
	number, err := s.await(p)
	if err != nil {
		return nil, err
	}
	err = s.send(ctx.Done(), &wirepb.Packet{Type: wirepb.PacketType_DIAL_REQ, Payload: &wirepb.Packet_DialRequest{
		DialRequest: &wirepb.DialRequest{Protocol: "tcp", Address: address, Random: number},
	}})
	if err == nil {
		select {
		case err = <-p.answer:
			if err == nil {
				return p.conn, nil
			}
			return nil, err
		case <-ctx.Done():
			s.sendLater(&wirepb.Packet{Type: wirepb.PacketType_DIAL_CLS, Payload: &wirepb.Packet_CloseDial{CloseDial: &wirepb.CloseDial{Random: number}}})
		}
	}
	// Nobody waits any more. A connection that the agent makes all the same is closed when it tells of it.
	if s.answer(number) == nil {
		if late := <-p.answer; late == nil { // it came in the same moment
			_ = p.conn.Close()
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// await makes room for an answer. Numbers are not to be guessed by other agents of the member.
func (s *stream) await(p *pending) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return 0, s.why
	}
	if len(s.dials) >= maxPending {
		return 0, errMany
	}
	for {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // it never fails
		number := int64(binary.BigEndian.Uint64(raw[:]) >> 1)
		if _, taken := s.dials[number]; number != 0 && !taken {
			s.dials[number] = p
			return number, nil
		}
	}
}

func (s *stream) receive() error {
	for {
		p, err := s.wire.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the agent has closed it")
		}
		if err != nil {
			return err
		}
		if err := s.take(p); err != nil {
			return err
		}
	}
}

// take does what one packet says. Its error ends the stream.
func (s *stream) take(p *wirepb.Packet) error {
	switch p.GetType() {
	case wirepb.PacketType_DIAL_RSP:
		return s.answered(p.GetDialResponse())
	case wirepb.PacketType_DATA:
		data := p.GetData()
		c := s.conn(data.GetConnectID())
		if c == nil {
			return s.stray()
		}
		s.received.Add(float64(len(data.GetData())))
		c.deliver(data.GetData())
	case wirepb.PacketType_CLOSE_RSP:
		id := p.GetCloseResponse().GetConnectID()
		c := s.conn(id)
		if c == nil {
			return s.stray()
		}
		s.drop(c)
		why := io.EOF
		if says := p.GetCloseResponse().GetError(); says != "" {
			why = &RefusedError{Cluster: s.who.Cluster, Address: c.address, Says: wire.Said(says)}
		}
		c.fail(why)
	case wirepb.PacketType_DIAL_CLS:
		if d := s.answer(p.GetCloseDial().GetRandom()); d != nil {
			d.answer <- &RefusedError{Cluster: s.who.Cluster, Address: d.conn.address, Says: "it gave the dial up"}
			return nil
		}
		return s.stray()
	case wirepb.PacketType_DRAIN:
		s.draining.Store(true)
	default:
		id, n, told := window.Told(p)
		c := s.conn(id)
		if !told || c == nil {
			return s.stray()
		}
		c.credit.Give(n)
	}
	return nil
}

// answered takes the answer to a dial.
func (s *stream) answered(r *wirepb.DialResponse) error {
	id := r.GetConnectID()
	if r.GetError() == "" && id == 0 {
		return errors.New("the agent answered a dial with neither a connection nor an error")
	}
	s.mu.Lock()
	d := s.dials[r.GetRandom()]
	delete(s.dials, r.GetRandom())
	_, taken := s.conns[id]
	if d != nil && r.GetError() == "" && !taken && s.why == nil {
		d.conn.id = id
		s.conns[id] = d.conn
	}
	s.mu.Unlock()
	switch {
	case d == nil && r.GetError() == "" && !taken:
		s.sendLater(closeRequest(id)) // nobody waits for it any more
		return s.stray()
	case d == nil:
		return s.stray()
	case r.GetError() != "":
		d.answer <- &RefusedError{Cluster: s.who.Cluster, Address: d.conn.address, Says: wire.Said(r.GetError())}
	case taken:
		d.answer <- errGone
		return fmt.Errorf("the agent answered a dial with connection %d, which is another's", id)
	default:
		d.answer <- nil
	}
	return nil
}

// answer takes the dial that waits under a number; nil if none does.
func (s *stream) answer(number int64) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dials[number]
	delete(s.dials, number)
	return d
}

func (s *stream) conn(id int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// drop takes a connection off, and tells whether it was on: its number may be another's by now.
func (s *stream) drop(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c.id] != c {
		return false
	}
	delete(s.conns, c.id)
	return true
}

// stray counts a packet that belongs to nothing.
func (s *stream) stray() error {
	s.hub.metrics.strays.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.strays = max(0, s.strays-now.Sub(s.strayed).Seconds()*strayRate) + 1
	s.strayed = now
	if s.strays > strayBurst {
		s.hub.metrics.refused.WithLabelValues("flood").Inc()
		return fmt.Errorf("the agent floods the tunnel with packets that belong to no connection")
	}
	return nil
}
