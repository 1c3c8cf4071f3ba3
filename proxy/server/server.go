package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/proto/agent"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/roster"
)

const (
	// A connection of which nothing is heard is asked after keepaliveTime and given up keepaliveTimeout later: together
	// they bound how long a half-open one is taken for alive.
	keepaliveTime    = 8 * time.Second
	keepaliveTimeout = 4 * time.Second
	// minPing is how often agents and clients may ask in turn.
	minPing = time.Second
	// handshakeTimeout bounds what somebody may do with a port who does not speak.
	handshakeTimeout = 10 * time.Second
	// window is how much of one stream may be on its way without being taken.
	window = 1 << 20
	// maxStreams bounds the streams of one connection. A plane has one for all that it dials; those of agents the hub bounds.
	maxStreams = 1 << 16
	// lookAgain is how often it is seen whether those who are served are still trusted.
	lookAgain = time.Second
)

// Trust is what the server shows and whom it believes, as it is now.
type Trust struct {
	// Certificate is the server's own.
	Certificate tls.Certificate
	// Agents and Clients are the authorities of the two roles.
	Agents, Clients *x509.CertPool
}

// Options say how to serve.
type Options struct {
	Hub *hub.Hub
	// Trust is asked at each handshake and each new stream, and now and then for the streams that there are, so that
	// authorities can change while the server runs.
	Trust func() (Trust, error)
	// MayDial tells whether a client, whose certificate was verified, may dial a member; "" asks whether any, and so whether
	// it may know who is connected.
	MayDial func(client *x509.Certificate, member string) error
}

// Server serves agents and clients.
type Server struct {
	opts   Options
	grpc   *grpc.Server
	guests guests
}

// New returns a server that does not listen yet.
func New(opts Options) *Server {
	s := &Server{opts: opts}
	s.grpc = grpc.NewServer(
		grpc.Creds(&handshakes{TransportCredentials: credentials.NewTLS(s.tls()), refused: s.failed}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(2*window),
		grpc.MaxConcurrentStreams(maxStreams),
		// A thousand idle agents keep no buffers.
		grpc.ReadBufferSize(8<<10),
	)
	agent.RegisterAgentServiceServer(s.grpc, agents{s})
	wirepb.RegisterProxyServiceServer(s.grpc, clients{s})
	roster.Register(s.grpc, s.tell)
	return s
}

// Serve serves on a listener until ctx ends; then every tunnel has ended. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var ending sync.WaitGroup
	ending.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer ending.Done()
		s.opts.Hub.Close()
		s.grpc.Stop()
	})
	looking, looked := context.WithCancel(ctx)
	var look sync.WaitGroup
	look.Go(func() { s.look(looking) })
	err := s.grpc.Serve(listener)
	looked()
	look.Wait()
	if stop() {
		ending.Done()
		s.opts.Hub.Close()
		return fmt.Errorf("serving tunnels: %w", err)
	}
	ending.Wait()
	return nil
}

// tls asks everybody for a certificate of either authority.
func (s *Server) tls() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			trust, err := s.opts.Trust()
			if err != nil {
				return nil, fmt.Errorf("reading what to trust: %w", err)
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{trust.Certificate},
				ClientAuth: tls.RequireAnyClientCert, // and then verified, so that it is known why one is refused
				VerifyConnection: func(state tls.ConnectionState) error {
					agentErr := verify(state.PeerCertificates, trust.Agents)
					if agentErr == nil {
						return nil
					}
					if clientErr := verify(state.PeerCertificates, trust.Clients); clientErr == nil {
						return nil
					}
					return fmt.Errorf("the certificate is neither an agent's nor a client's: %w", agentErr)
				},
			}, nil
		},
	}
}

// verify verifies what the other side showed against one authority.
func verify(shown []*x509.Certificate, authority *x509.CertPool) error {
	if len(shown) == 0 {
		return errors.New("no certificate was shown")
	}
	if authority == nil {
		return errors.New("there is no authority for this role")
	}
	opts := x509.VerifyOptions{Roots: authority, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range shown[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := shown[0].Verify(opts)
	return err
}

// failed tells of a handshake that came to nothing.
func (s *Server) failed(from net.Addr, err error) {
	reason := "handshake"
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		reason = "expired"
	case errors.As(err, &invalid), errors.As(err, &unknown):
		reason = "certificate"
	}
	s.opts.Hub.Refused(reason, from, err.Error())
}

// handshakes are TLS's, and tell which fail: gRPC keeps that to itself.
type handshakes struct {
	credentials.TransportCredentials
	refused func(net.Addr, error)
}

// ServerHandshake implements credentials.TransportCredentials.
func (h *handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		h.refused(raw.RemoteAddr(), err)
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{h.TransportCredentials.Clone(), h.refused}
}

// agents are the agents' side.
type agents struct{ *Server }

// Connect implements agent.AgentServiceServer.
func (s agents) Connect(stream agent.AgentService_ConnectServer) error {
	g, err := s.admit(stream.Context(), anAgent)
	if err != nil {
		return err
	}
	defer s.guests.remove(g)
	return s.opts.Hub.Serve(g.ctx, stream, g.cert(), g.from)
}
