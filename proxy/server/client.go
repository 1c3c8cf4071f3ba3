package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/wire"
)

// Metadata of a client's stream.
const (
	// ClusterHeader names the member to dial in.
	ClusterHeader = "cellfed-cluster"
	// LaneHeader names the lane: bulk (the default) or control.
	LaneHeader = "cellfed-lane"
)

// frontID is the number of the one connection of a client's stream.
const frontID = 1

// clients are the clients' side.
type clients struct{ *Server }

// Proxy implements client.ProxyServiceServer: one stream is one connection.
func (s clients) Proxy(stream wirepb.ProxyService_ProxyServer) error {
	g, err := s.admit(stream.Context(), aClient)
	if err != nil {
		return err
	}
	defer s.guests.remove(g)
	member, lane, err := wanted(stream.Context())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.opts.MayDial(g.cert(), member); err != nil {
		message := fmt.Sprintf("%s may not dial member %s: %v", g.cert().Subject.CommonName, member, err)
		s.opts.Hub.Refused("client", g.from, message)
		return status.Error(codes.PermissionDenied, message)
	}
	// From the first packet on, all goes no further than the client's certificate and the trust in it.
	ctx, cancel := g.bound(stream.Context())
	defer cancel()
	p, err := firstPacket(ctx, stream)
	if err != nil {
		return err
	}
	ask := p.GetDialRequest()
	if p.GetType() != wirepb.PacketType_DIAL_REQ || ask == nil {
		return status.Error(codes.InvalidArgument, "the first packet must be a DIAL_REQ")
	}
	if ask.GetProtocol() != "tcp" {
		return status.Errorf(codes.InvalidArgument, "a tunnel carries tcp only, not %q", ask.GetProtocol())
	}
	// A sign of life: whoever dials can tell a server that is slow from an agent that is.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	f := &front{stream: stream}
	conn, err := s.opts.Hub.Dial(ctx, member, ask.GetAddress(), lane)
	if err != nil {
		if sendErr := f.send(answer(ask.GetRandom(), 0, err.Error())); sendErr != nil {
			return sendErr
		}
		return verdict(err)
	}
	defer func() { _ = conn.Close() }()
	// A client that is gone is noticed also while the member takes nothing of what it sent.
	defer context.AfterFunc(stream.Context(), func() { _ = conn.Close() })()
	if err := f.send(answer(ask.GetRandom(), frontID, "")); err != nil {
		return err
	}
	return f.carry(ctx, conn)
}

// firstPacket is what a client says first, and soon.
func firstPacket(ctx context.Context, stream wirepb.ProxyService_ProxyServer) (*wirepb.Packet, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, fmt.Errorf("no DIAL_REQ has come within %s", handshakeTimeout))
	defer cancel()
	type heard struct {
		p   *wirepb.Packet
		err error
	}
	first := make(chan heard, 1)
	go func() { // it ends with the stream
		p, err := stream.Recv()
		first <- heard{p, err}
	}()
	select {
	case h := <-first:
		if ctx.Err() == nil || h.err != nil {
			return h.p, h.err
		}
	case <-ctx.Done():
	}
	return nil, status.Error(codes.Unauthenticated, context.Cause(ctx).Error())
}

// verdict is why a dial failed as a status, which tells the kinds of failure apart for those who know (proxy/remote); for
// all others the words of the answer are enough.
func verdict(err error) error {
	var none *hub.NoAgentError
	var revoked *hub.RevokedError
	var refused *hub.RefusedError
	var slow *hub.SlowAgentError
	switch {
	case errors.As(err, &none) && none.Unknown:
		return status.Error(codes.OutOfRange, "")
	case errors.As(err, &none):
		return status.Error(codes.NotFound, "")
	case errors.As(err, &revoked):
		return status.Error(codes.FailedPrecondition, "")
	case errors.As(err, &refused):
		return status.Error(codes.Aborted, refused.Says)
	case errors.As(err, &slow):
		return status.Error(codes.DeadlineExceeded, slow.After.String())
	}
	return status.Error(codes.Unavailable, err.Error())
}

// Failure is the error of Hub.Dial that a status tells of; nil if the status is none that verdict gave.
func Failure(err error, member, address string) error {
	said, ok := status.FromError(err)
	if !ok {
		return nil
	}
	switch said.Code() {
	case codes.OutOfRange:
		return &hub.NoAgentError{Cluster: member, Unknown: true}
	case codes.NotFound:
		return &hub.NoAgentError{Cluster: member}
	case codes.FailedPrecondition:
		return &hub.RevokedError{Cluster: member}
	case codes.Aborted:
		return &hub.RefusedError{Cluster: member, Address: address, Says: wire.Said(said.Message())}
	case codes.DeadlineExceeded:
		after, err := time.ParseDuration(said.Message())
		if err != nil {
			return nil //nolint:nilerr // gRPC's own
		}
		return &hub.SlowAgentError{Cluster: member, Address: address, After: after}
	}
	return nil
}

func wanted(ctx context.Context) (member string, lane hub.Lane, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	named := md.Get(ClusterHeader)
	if len(named) != 1 || named[0] == "" {
		return "", 0, fmt.Errorf("the stream's metadata must name one member as %s", ClusterHeader)
	}
	lane = hub.Bulk
	switch said := md.Get(LaneHeader); {
	case len(said) == 0 || len(said) == 1 && said[0] == hub.Bulk.String():
	case len(said) == 1 && said[0] == hub.Control.String():
		lane = hub.Control
	default:
		return "", 0, fmt.Errorf("the stream's metadata must say %s as %s or %s", LaneHeader, hub.Bulk, hub.Control)
	}
	return named[0], lane, nil
}

func answer(random, id int64, problem string) *wirepb.Packet {
	return &wirepb.Packet{Type: wirepb.PacketType_DIAL_RSP, Payload: &wirepb.Packet_DialResponse{
		DialResponse: &wirepb.DialResponse{Random: random, ConnectID: id, Error: problem},
	}}
}

// front is a client's stream, which admits one sender.
type front struct {
	stream  wirepb.ProxyService_ProxyServer
	sending sync.Mutex
}

func (f *front) send(p *wirepb.Packet) error {
	f.sending.Lock()
	defer f.sending.Unlock()
	return f.stream.Send(p)
}

// carry carries bytes both ways until one side ends, or ctx does.
func (f *front) carry(ctx context.Context, conn net.Conn) error {
	if ctx.Err() != nil {
		return status.Error(codes.Unauthenticated, context.Cause(ctx).Error())
	}
	out, in := make(chan error, 1), make(chan error, 1)
	go func() { out <- f.toClient(conn) }()
	go func() { in <- f.fromClient(conn) }()
	select {
	case <-ctx.Done():
		// Both end with the stream and the connection. The client's own end is not worth waiting for.
		return status.Error(codes.Unauthenticated, context.Cause(ctx).Error())
	case err := <-in:
		_ = conn.Close() // so that toClient ends
		if outErr := <-out; outErr != nil && err == nil {
			return outErr
		}
		return err
	}
}

// toClient sends what the member says, and that it has ended.
func (f *front) toClient(conn net.Conn) error {
	buffer := make([]byte, wire.MostData)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if sendErr := f.send(&wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{
				Data: &wirepb.Data{ConnectID: frontID, Data: buffer[:n]},
			}}); sendErr != nil {
				return sendErr
			}
		}
		if err != nil {
			problem := ""
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				problem = err.Error()
			}
			return f.send(&wirepb.Packet{Type: wirepb.PacketType_CLOSE_RSP, Payload: &wirepb.Packet_CloseResponse{
				CloseResponse: &wirepb.CloseResponse{ConnectID: frontID, Error: problem},
			}})
		}
	}
}

// fromClient writes what the client sends, until the client ends it. What the member takes no more is dropped: toClient has
// still to bring what the member said before, and then tells the client.
func (f *front) fromClient(conn net.Conn) error {
	broken := false
	for {
		p, err := f.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch p.GetType() {
		case wirepb.PacketType_DATA:
			if id := p.GetData().GetConnectID(); id != frontID {
				return status.Errorf(codes.InvalidArgument, "connection %d is not this stream's", id)
			}
			if !broken {
				_, err := conn.Write(p.GetData().GetData())
				broken = err != nil
			}
		case wirepb.PacketType_CLOSE_REQ:
			if id := p.GetCloseRequest().GetConnectID(); id != frontID {
				return status.Errorf(codes.InvalidArgument, "connection %d is not this stream's", id)
			}
			return nil
		case wirepb.PacketType_DIAL_CLS:
			return nil
		default:
			return status.Errorf(codes.InvalidArgument, "a client does not send %s here", p.GetType())
		}
	}
}
