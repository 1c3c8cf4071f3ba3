package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"
	"sigs.k8s.io/apiserver-network-proxy/proto/header"
)

const soon = 10 * time.Second

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pki is one authority for both ends.
type pki struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newPKI() *pki {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))))
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &pki{cert, key, pool}
}

func (p *pki) issue(name string, life time.Duration) *tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<60))), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(life),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, p.cert, &key.PublicKey, p.key))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

// held are credentials that a test changes.
type held struct {
	mu      sync.Mutex
	current *tls.Certificate
	changed chan struct{}
}

func (h *held) Current() (*tls.Certificate, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.current, h.changed
}

func (h *held) set(c *tls.Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = c
	if h.changed != nil {
		close(h.changed)
	}
	h.changed = make(chan struct{})
}

// logs keep what the agent tells.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve serves gRPC over mTLS on a loopback port, or on the given one.
func (p *pki) serve(t *testing.T, address string, register func(*grpc.Server)) (*grpc.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{*p.issue("server", time.Hour)}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return s, l.Addr().String()
}

// started is an agent that runs, with what it tells.
type started struct {
	*Agent
	creds *held
	logs  *logs
	stop  context.CancelFunc
	ended chan struct{}
}

func (p *pki) agent(t *testing.T, opts Options) *started {
	t.Helper()
	s := &started{creds: &held{current: p.issue("agent", time.Hour)}, logs: &logs{}, ended: make(chan struct{})}
	if opts.Credentials == nil {
		opts.Credentials = s.creds
	}
	opts.ServerCA = func() (*x509.CertPool, error) { return p.pool, nil }
	opts.Logger = slog.New(slog.NewTextHandler(s.logs, nil))
	if opts.Drain == 0 {
		opts.Drain = 50 * time.Millisecond
	}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Agent = a
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { a.Run(ctx); close(s.ended) }()
	t.Cleanup(func() {
		s.stop()
		select {
		case <-s.ended:
		case <-time.After(soon):
			t.Error("the agent does not end")
		}
		if n := a.counts.connections.Load(); n != 0 {
			t.Errorf("%d connections are left over", n)
		}
		if n := a.queued.Load(); n != 0 {
			t.Errorf("%d bytes are still counted as waiting", n)
		}
	})
	return s
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	if !await(soon, so) {
		t.Fatalf("it does not come to pass that %s", what)
	}
}

// rude is a server that says whatever a test wants, one stream at a time.
type rude struct {
	agentproto.UnimplementedAgentServiceServer
	id      string
	count   int
	arrived chan *rudeStream
	// refuse ends each stream at once.
	refuse bool
	mu     sync.Mutex
	opens  int
}

type rudeStream struct {
	agentproto.AgentService_ConnectServer
	got  chan *client.Packet
	hung chan struct{}
}

func newRude() *rude { return &rude{id: "rude", count: 1, arrived: make(chan *rudeStream, 16)} }

func (r *rude) Connect(stream agentproto.AgentService_ConnectServer) error {
	r.mu.Lock()
	r.opens++
	refuse := r.refuse
	r.mu.Unlock()
	if err := stream.SendHeader(metadata.Pairs(header.ServerID, r.id, header.ServerCount, strconv.Itoa(r.count))); err != nil {
		return err
	}
	if refuse {
		return io.ErrUnexpectedEOF
	}
	s := &rudeStream{stream, make(chan *client.Packet, 4096), make(chan struct{})}
	r.arrived <- s
	go func() {
		defer close(s.got)
		for {
			p, err := stream.Recv()
			if err != nil {
				return
			}
			s.got <- p
		}
	}()
	select {
	case <-stream.Context().Done():
	case <-s.hung:
	}
	return nil
}

func (r *rude) stream(t *testing.T) *rudeStream {
	t.Helper()
	select {
	case s := <-r.arrived:
		return s
	case <-time.After(soon):
		t.Fatal("no agent comes")
		return nil
	}
}

func (s *rudeStream) next(t *testing.T) *client.Packet {
	t.Helper()
	select {
	case p, ok := <-s.got:
		if !ok {
			t.Fatal("the stream ended")
		}
		return p
	case <-time.After(soon):
		t.Fatal("nothing comes")
		return nil
	}
}

func (s *rudeStream) say(t *testing.T, p *client.Packet) {
	t.Helper()
	if err := s.Send(p); err != nil {
		t.Fatal(err)
	}
}

func dialReq(random int64, address string) *client.Packet {
	return &client.Packet{Type: client.PacketType_DIAL_REQ, Payload: &client.Packet_DialRequest{DialRequest: &client.DialRequest{Protocol: "tcp", Address: address, Random: random}}}
}

func data(id int64, b []byte) *client.Packet {
	return &client.Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{Data: &client.Data{ConnectID: id, Data: b}}}
}

func closeReq(id int64) *client.Packet {
	return &client.Packet{Type: client.PacketType_CLOSE_REQ, Payload: &client.Packet_CloseRequest{CloseRequest: &client.CloseRequest{ConnectID: id}}}
}

// connect has the agent connect and returns the connection's ID.
func (s *rudeStream) connect(t *testing.T, random int64, address string) int64 {
	t.Helper()
	s.say(t, dialReq(random, address))
	r := s.next(t).GetDialResponse()
	if r.GetError() != "" || r.GetConnectID() == 0 || r.GetRandom() != random {
		t.Fatalf("the agent answered %v", r)
	}
	return r.GetConnectID()
}

// target listens in place of the member's API server.
func target(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return l.Addr().String()
}

func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.Close()
}

// deaf takes nothing.
func deaf(t *testing.T) string {
	t.Helper()
	var mu sync.Mutex
	var all []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			_ = c.Close()
		}
	})
	return target(t, func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
	})
}

func (s *started) metric(name string) string {
	var b bytes.Buffer
	s.writeMetrics(&b)
	for line := range strings.Lines(b.String()) {
		if rest, ok := strings.CutPrefix(line, "cellfed_agent_"+name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
