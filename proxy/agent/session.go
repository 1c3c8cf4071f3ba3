package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"
	"sigs.k8s.io/apiserver-network-proxy/proto/header"

	"github.com/cellfed/cellfed/proxy/window"
)

// session is one stream, with the connections that go over it.
type session struct {
	agent       *Agent
	address     string
	serverID    string
	certificate *tls.Certificate
	begun       time.Time
	// window is how much of each connection may be under way to the server, 0 when it knows no windows.
	window int64

	conn   *grpc.ClientConn
	stream agentproto.AgentService_ConnectClient
	cancel context.CancelFunc
	// done is closed when the stream has ended.
	done chan struct{}
	// answers are what the reader of the stream has to say.
	answers chan *client.Packet

	sending sync.Mutex

	mu    sync.Mutex
	ended bool
	conns map[int64]*conn // by connection ID
	dials map[int64]*conn // by the ID that the server gave to the attempt, for as long as the connection lasts
}

// open opens a stream, and tells how many servers there are behind the address.
func (a *Agent) open(ctx context.Context, address string, certificate *tls.Certificate, silence time.Duration) (*session, int, error) {
	roots, err := a.opts.ServerCA()
	if err != nil {
		return nil, 0, err
	}
	show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	cc, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: a.opts.ServerName, GetClientCertificate: show,
		})),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: silence, Timeout: a.opts.KeepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithUserAgent(a.opts.UserAgent))
	if err != nil {
		return nil, 0, fmt.Errorf("connecting: %w", err)
	}
	// Not ctx itself: the stream has to outlive it for the time that connections get.
	life, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.WithoutCancel(ctx),
		header.AgentID, a.id, window.Header, strconv.FormatInt(a.opts.QueueBytes, 10)))
	giveUp := func(err error) (*session, int, error) {
		cancel()
		_ = cc.Close() // what there is to say of it was said
		return nil, 0, err
	}
	opening, opened := context.WithTimeout(ctx, a.opts.OpenTimeout)
	defer opened()
	stop := context.AfterFunc(opening, cancel)
	stream, err := agentproto.NewAgentServiceClient(cc).Connect(life)
	if err != nil {
		return giveUp(fmt.Errorf("opening a stream: %w", plain(err)))
	}
	told, err := stream.Header()
	if !stop() {
		return giveUp(fmt.Errorf("opening a stream: no answer within %s", a.opts.OpenTimeout))
	}
	if err == nil && told == nil { // the stream ended without headers: the error is what it ended with
		_, err = stream.Recv()
	}
	if err != nil {
		return giveUp(fmt.Errorf("opening a stream: %w", plain(err)))
	}
	ids := told.Get(header.ServerID)
	if len(ids) != 1 || ids[0] == "" {
		return giveUp(errors.New("opening a stream: the server does not say which it is: is that a proxy server?"))
	}
	count := 1
	if counts := told.Get(header.ServerCount); len(counts) == 1 {
		if n, err := strconv.Atoi(counts[0]); err == nil {
			count = n
		}
	}
	return &session{
		agent: a, address: address, serverID: ids[0], certificate: certificate, begun: time.Now(), window: window.Of(told),
		conn: cc, stream: stream, cancel: cancel, done: make(chan struct{}), answers: make(chan *client.Packet, 256),
		conns: map[int64]*conn{}, dials: map[int64]*conn{},
	}, count, nil
}

// plain is an error of gRPC without its own words around it.
func plain(err error) error {
	if s, ok := status.FromError(err); ok {
		return errors.New(s.Message())
	}
	return err
}

// lastMoment is when the stream has to end, because its certificate does.
func (s *session) lastMoment() time.Time { return lastMoment(s.certificate) }

// start serves the stream until it ends, and tells then.
func (s *session) start(gone func(error)) {
	s.agent.counts.streams.Add(1)
	go s.answer()
	go func() {
		err := s.receive()
		s.agent.counts.streams.Add(-1)
		s.end()
		gone(err)
	}()
}

func (s *session) receive() error {
	for {
		packet, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return plain(err)
		}
		s.handle(packet)
	}
}

// handle does what one packet says. It waits for nothing but, for a bounded time, a connection that is slow to take bytes.
func (s *session) handle(p *client.Packet) {
	switch p.GetType() {
	case client.PacketType_DIAL_REQ:
		if p.GetDialRequest() == nil {
			s.agent.counts.violations.Add(1)
			return
		}
		s.dial(p.GetDialRequest())
	case client.PacketType_DIAL_CLS:
		if c := s.dialled(p.GetCloseDial().GetRandom()); c != nil {
			c.abandon()
		}
	case client.PacketType_DATA:
		c := s.connection(p.GetData().GetConnectID())
		if c == nil {
			s.unknown(p.GetData().GetConnectID())
			return
		}
		c.take(p.GetData().GetData())
	case client.PacketType_CLOSE_REQ:
		c := s.connection(p.GetCloseRequest().GetConnectID())
		if c == nil {
			s.unknown(p.GetCloseRequest().GetConnectID())
			return
		}
		c.finish()
	default:
		id, n, told := window.Told(p)
		if !told {
			s.agent.counts.violations.Add(1)
			return
		}
		if c := s.connection(id); c != nil { // it may have ended just now
			c.credit.Give(n)
		}
	}
}

// unknown answers about a connection that is not there. That happens in good order: it may have ended just now.
func (s *session) unknown(id int64) {
	if id == 0 {
		s.agent.counts.violations.Add(1)
		return
	}
	s.say(closed(id, "unknown connection"))
}

func (s *session) dial(req *client.DialRequest) {
	a := s.agent
	c := newConn(s, req.GetRandom(), req.GetAddress())
	switch {
	case !a.allow.has(req.GetProtocol(), req.GetAddress()):
		a.refuse(s.address, req.GetProtocol(), req.GetAddress())
		s.say(dialFailed(req.GetRandom(), fmt.Sprintf("the agent does not connect to %s %q: it is not among the addresses allowed to it", req.GetProtocol(), req.GetAddress())))
		return
	case a.draining.Load():
		s.say(dialFailed(req.GetRandom(), "the agent is ending"))
		return
	}
	s.mu.Lock()
	_, twice := s.dials[c.dialID]
	over := !twice && a.counts.connections.Load() >= a.opts.MaxConnections
	ended := s.ended
	if !twice && !over && !ended {
		s.dials[c.dialID] = c
		a.counts.connections.Add(1)
	}
	s.mu.Unlock()
	switch {
	case ended:
	case twice: // an answer would be taken for one to the first
		a.counts.violations.Add(1)
	case over:
		a.counts.overLimit.Add(1)
		s.say(dialFailed(req.GetRandom(), fmt.Sprintf("the agent has as many connections as it may have: %d", a.opts.MaxConnections)))
	default:
		go c.run()
	}
}

func (s *session) dialled(id int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials[id]
}

func (s *session) connection(id int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// established gives a connection its name; false if the stream has ended meanwhile.
func (s *session) established(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	c.id = s.agent.nextID.Add(1)
	s.conns[c.id] = c
	return true
}

func (s *session) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dials, c.dialID)
	if c.id != 0 {
		delete(s.conns, c.id)
	}
	s.agent.counts.connections.Add(-1)
}

// say has something sent by another goroutine. A server that asks faster than it reads gets no answer at some time.
func (s *session) say(p *client.Packet) {
	select {
	case s.answers <- p:
	default:
		s.agent.counts.violations.Add(1)
	}
}

func (s *session) answer() {
	for {
		select {
		case p := <-s.answers:
			_ = s.send(p) // the reader learns why the stream ended
		case <-s.done:
			return
		}
	}
}

func (s *session) send(p *client.Packet) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(p)
}

func (s *session) open() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*conn, 0, len(s.dials))
	for _, c := range s.dials {
		out = append(out, c)
	}
	return out
}

// drain tells the server to send nothing new this way.
func (s *session) drain() {
	s.say(&client.Packet{Type: client.PacketType_DRAIN, Payload: &client.Packet_Drain{Drain: &client.Drain{}}})
}

// retire ends a stream whose place another took, once its connections have ended, or when its certificate does.
func (s *session) retire() {
	s.drain()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := time.NewTimer(time.Until(s.lastMoment()))
	defer last.Stop()
	// What the server sent before it heard has to arrive first.
	begun := time.Now()
	for {
		select {
		case <-s.done:
			return
		case <-last.C:
		case <-tick.C:
			if len(s.open()) > 0 || time.Since(begun) < time.Second {
				continue
			}
		}
		s.finish("the agent replaces this stream")
		return
	}
}

// finish ends all connections, says so, and then the stream.
func (s *session) finish(why string) {
	for _, c := range s.open() {
		c.abort(why)
	}
	const lastWords = time.Second
	await(lastWords, func() bool { return len(s.open()) == 0 })
	s.sending.Lock()
	_ = s.stream.CloseSend() // it may have ended
	s.sending.Unlock()
	select {
	case <-s.done: // the server has read all of it
	case <-time.After(lastWords):
		s.end()
	}
}

// end ends the stream and what goes over it, at once.
func (s *session) end() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.mu.Unlock()
	close(s.done)
	s.cancel()
	_ = s.conn.Close()
	for _, c := range s.open() {
		c.abort("the stream ended")
	}
}

func dialFailed(random int64, why string) *client.Packet {
	return &client.Packet{Type: client.PacketType_DIAL_RSP, Payload: &client.Packet_DialResponse{DialResponse: &client.DialResponse{Random: random, Error: why}}}
}

func closed(id int64, why string) *client.Packet {
	return &client.Packet{Type: client.PacketType_CLOSE_RSP, Payload: &client.Packet_CloseResponse{CloseResponse: &client.CloseResponse{ConnectID: id, Error: why}}}
}
