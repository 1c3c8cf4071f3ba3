package remote

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/roster"
	"github.com/cellfed/cellfed/proxy/server"
	"github.com/cellfed/cellfed/proxy/wire"
)

const (
	// A server that cannot be reached is tried again after firstPause, and later after more, at most longestPause.
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
	// connectTimeout is how long an attempt may take.
	connectTimeout = 3 * time.Second
	// A server of which nothing is heard is asked after keepaliveTime (gRPC has it no shorter), and given up
	// keepaliveTimeout later.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 4 * time.Second
	// signTime is how long a server may take to show that it has heard a dial, whatever the agent does.
	signTime = 3 * time.Second
	// answerTime is how long it may then take to answer, which is more than its own patience with an agent.
	answerTime = 20 * time.Second
	// window is how much of one connection may be on its way without being read.
	window = 1 << 20
)

// ServerError says that a server did not do its part: another one may.
type ServerError struct {
	Address string
	Err     error
}

// Error implements error.
func (e *ServerError) Error() string {
	return fmt.Sprintf("the proxy server %s: %v", e.Address, e.Err)
}

// Unwrap gives the cause.
func (e *ServerError) Unwrap() error { return e.Err }

// Server is one server.
type Server struct {
	address string
	grpc    *grpc.ClientConn
}

// Connect prepares the use of the server at host:port. It is connected to when it is first used, and again whenever that
// is lost. config says whom to trust, and has a client's certificate.
func Connect(address string, config *tls.Config) (*Server, error) {
	c, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout,
			Backoff: backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestPause}}),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(2*window),
		grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, &ServerError{address, err}
	}
	return &Server{address, c}, nil
}

// Close ends the connection to the server, and with it all that was dialled.
func (s *Server) Close() error { return s.grpc.Close() }

// Follow hears who is connected to the server, until ctx ends or the connection does. Its error is never nil.
func (s *Server) Follow(ctx context.Context, take func(roster.Entry)) error {
	return told(s.address, roster.Follow(ctx, s.grpc, take))
}

// told is what a server, or gRPC for it, says, fit for a status and a log.
func told(address string, err error) error {
	said := status.Convert(err)
	words := errors.New(wire.Said(said.Message()))
	if said.Code() == codes.Unauthenticated {
		return &ServerError{address, fmt.Errorf("%w: %w", errNotTrusted, words)}
	}
	return &ServerError{address, words}
}

// errNotTrusted says that a server does not believe the certificate it was shown.
var errNotTrusted = errors.New("it does not trust our certificate")

// Dial opens a connection to an address as seen from a member. Its errors are those of hub.Hub.Dial, or a *ServerError.
func (s *Server) Dial(ctx context.Context, member, address string, lane hub.Lane) (net.Conn, error) {
	// The connection outlives the dial's context.
	life, end := context.WithCancelCause(metadata.AppendToOutgoingContext(context.WithoutCancel(ctx),
		server.ClusterHeader, member, server.LaneHeader, lane.String()))
	stop := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	stream, err := s.open(life, end, member, address)
	if !stop() && err == nil { // ctx ended in the same moment
		err = context.Cause(ctx)
	}
	if err != nil {
		end(err)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return carry(stream, end, member, address), nil
}

// errSilent ends a dial of which the server has shown nothing.
var errSilent = errors.New("it did not answer in time")

// open asks for a connection, and reads the answer.
func (s *Server) open(ctx context.Context, end context.CancelCauseFunc, member, address string) (wirepb.ProxyService_ProxyClient, error) {
	sign := time.AfterFunc(signTime, func() { end(errSilent) })
	defer sign.Stop()
	stream, err := wirepb.NewProxyServiceClient(s.grpc).Proxy(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	number := dialNumber()
	err = stream.Send(&wirepb.Packet{Type: wirepb.PacketType_DIAL_REQ, Payload: &wirepb.Packet_DialRequest{
		DialRequest: &wirepb.DialRequest{Protocol: "tcp", Address: address, Random: number},
	}})
	if err != nil && !errors.Is(err, io.EOF) { // of which Recv tells the reason
		return nil, s.failed(ctx, err)
	}
	if _, err := stream.Header(); err != nil {
		return nil, s.failed(ctx, err)
	}
	sign.Stop()
	answer := time.AfterFunc(answerTime, func() { end(errSilent) })
	defer answer.Stop()
	p, err := stream.Recv()
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	r := p.GetDialResponse()
	switch {
	case r == nil || r.GetRandom() != number:
		return nil, &ServerError{s.address, fmt.Errorf("it answered a dial with %s", p.GetType())}
	case r.GetError() == "":
		return stream, nil
	}
	_, err = stream.Recv()
	if failure := server.Failure(err, member, address); failure != nil {
		return nil, failure
	}
	return nil, &ServerError{s.address, errors.New(wire.Said(r.GetError()))}
}

func (s *Server) failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return &ServerError{s.address, cause}
	}
	return told(s.address, err)
}

func dialNumber() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return int64(binary.BigEndian.Uint64(b[:])>>1) | 1
}
