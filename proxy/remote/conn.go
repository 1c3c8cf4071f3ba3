package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/wire"
)

// closeTime is how long the server may take to end a stream that was closed here.
const closeTime = 5 * time.Second

// conn is a connection through a server: one end of a pipe, whose other end is carried by a stream. The pipe brings the
// deadlines.
type conn struct {
	net.Conn
	local, remote hub.Addr
	end           context.CancelCauseFunc

	mu  sync.Mutex
	why error // instead of io.EOF
}

// carry moves bytes between a stream and the returned connection until either ends.
func carry(stream wirepb.ProxyService_ProxyClient, end context.CancelCauseFunc, member, address string) net.Conn {
	ours, inner := net.Pipe()
	c := &conn{Conn: ours, end: end, local: hub.Addr{Address: "plane"}, remote: hub.Addr{Member: member, Address: address}}
	go func() {
		c.fail(receive(stream, inner))
		_ = inner.Close()
		end(nil)
	}()
	go func() {
		send(stream, inner)
		_ = stream.CloseSend() // the server ends it; Close sees to it
	}()
	return c
}

// send sends what is written until nothing more is.
func send(stream wirepb.ProxyService_ProxyClient, from net.Conn) {
	buffer := make([]byte, wire.MostData)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			// gRPC has encoded it before Send returns, so that the buffer may be used again.
			sent := stream.Send(&wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{
				Data: &wirepb.Data{ConnectID: connection, Data: buffer[:n]},
			}})
			if sent != nil {
				_ = from.Close()
				return // why, Recv says
			}
		}
		if err != nil {
			return
		}
	}
}

// connection is the number of a stream's one connection.
const connection = 1

// receive hands over what comes until nothing more does, and returns why; io.EOF for an orderly end. What comes after the
// connection was closed here is dropped: to cancel the stream would take with it what was written last.
func receive(stream wirepb.ProxyService_ProxyClient, to net.Conn) error {
	closed := false
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if err != nil {
			return errors.New(wire.Said(status.Convert(err).Message()))
		}
		switch p.GetType() {
		case wirepb.PacketType_DATA:
			if data := p.GetData().GetData(); len(data) > 0 && !closed {
				_, err := to.Write(data)
				closed = err != nil
			}
		case wirepb.PacketType_CLOSE_RSP:
			if words := p.GetCloseResponse().GetError(); words != "" {
				return errors.New(wire.Said(words))
			}
			return io.EOF
		}
	}
}

func (c *conn) fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why = why
}

// Read implements net.Conn. After all that has come, its error says why the connection has ended.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return n, c.why
	}
	return n, err
}

// Close implements net.Conn. The stream has closeTime to bring what was written last.
func (c *conn) Close() error {
	time.AfterFunc(closeTime, func() { c.end(nil) })
	return c.Conn.Close()
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }
