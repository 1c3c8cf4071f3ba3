package roster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Entry is what is told at a time: the agents of one member, or that all has been told once.
type Entry struct {
	Member string `json:"member,omitempty"`
	// Agents are those that are connected now; none = no more.
	Agents []Agent `json:"agents,omitempty"`
	// Complete says that every member with agents has been told.
	Complete bool `json:"complete,omitempty"`
}

// Agent is an agent that is connected.
type Agent struct {
	// ID tells the agents of a member apart: it is what the agent says of itself.
	ID string `json:"id"`
	// NotAfter is when its certificate ends.
	NotAfter time.Time `json:"notAfter"`
}

const (
	serviceName = "cellfed.tunnel.v1.Roster"
	method      = "Follow"
)

// Teller tells entries until ctx ends or send fails.
type Teller func(ctx context.Context, send func(Entry) error) error

// Register has a gRPC server tell everybody who comes.
func Register(s grpc.ServiceRegistrar, tell Teller) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: method, ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
				return err
			}
			return tell(stream.Context(), func(e Entry) error {
				data, err := json.Marshal(e)
				if err != nil {
					return fmt.Errorf("telling who is connected: %w", err)
				}
				return stream.SendMsg(wrapperspb.Bytes(data))
			})
		}}},
	}, struct{}{})
}

// Follow hears what the server at the other end tells, until ctx ends or the connection does. Its error is never nil.
func Follow(ctx context.Context, server grpc.ClientConnInterface, take func(Entry)) error {
	stream, err := server.NewStream(ctx, &grpc.StreamDesc{StreamName: method, ServerStreams: true}, "/"+serviceName+"/"+method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var message wrapperspb.BytesValue
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		var e Entry
		if err := json.Unmarshal(message.GetValue(), &e); err != nil {
			return fmt.Errorf("reading who is connected: %w", err)
		}
		take(e)
	}
}
