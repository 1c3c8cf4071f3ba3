package wire

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func TestAFullPacketFitsTheBufferOf32KiB(t *testing.T) {
	const buffer, grpcHeader = 32 << 10, 5
	full := &client.Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{Data: &client.Data{ConnectID: math.MinInt64, Data: make([]byte, MostData)}}}
	if size := proto.Size(full) + grpcHeader; size > buffer {
		t.Errorf("a packet with %d bytes takes %d, more than %d", MostData, size, buffer)
	}
}
