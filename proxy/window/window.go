package window

import (
	"encoding/binary"
	"strconv"
	"sync"

	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

const (
	// Header is the metadata in which both ends say how many bytes of a connection may be under way to them.
	Header = "cellfed-window"
	// Size is what ours say: enough for 80 Mbit/s over a way of 100 ms.
	Size = 1 << 20
	// most is what is believed of another.
	most = 64 << 20
)

// packetTaken is the type of the packets that tell what was taken, far from those that the protocol has.
const packetTaken = client.PacketType(1001)

// Of is the window that the other end's metadata says; 0 if it knows none.
func Of(md metadata.MD) int64 {
	said := md.Get(Header)
	if len(said) != 1 {
		return 0
	}
	n, err := strconv.ParseInt(said[0], 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return min(n, most)
}

// Kept is the window that another end keeps to which was told n.
func Kept(n int64) int64 { return min(n, most) }

// Taken is the packet that says that n more bytes of a connection were taken.
func Taken(id, n int64) *client.Packet {
	return &client.Packet{Type: packetTaken, Payload: &client.Packet_Data{
		Data: &client.Data{ConnectID: id, Data: binary.AppendUvarint(nil, uint64(n))},
	}}
}

// Told reads such a packet; false if it is none.
func Told(p *client.Packet) (id, n int64, ok bool) {
	if p.GetType() != packetTaken {
		return 0, 0, false
	}
	u, size := binary.Uvarint(p.GetData().GetData())
	if size <= 0 || u > most {
		u = 0 // whoever says nothing gets nothing
	}
	return p.GetData().GetConnectID(), int64(u), true
}

// Credit is how much of a connection may still be sent. A nil one has no limit.
type Credit struct {
	size int64
	more chan struct{} // one token: look again

	mu   sync.Mutex
	left int64
}

// NewCredit returns the credit for a window; nil for none.
func NewCredit(size int64) *Credit {
	if size <= 0 {
		return nil
	}
	return &Credit{size: size, left: size, more: make(chan struct{}, 1)}
}

// Spend waits until something may be sent, and returns how much of n. It returns 0 when one of the channels is closed
// first.
func (c *Credit) Spend(n int, end, stop <-chan struct{}) int {
	if c == nil {
		return n
	}
	for {
		c.mu.Lock()
		part := min(int64(n), c.left)
		c.left -= part
		left := c.left
		c.mu.Unlock()
		if left > 0 {
			c.wake() // another may wait
		}
		if part > 0 {
			return int(part)
		}
		select {
		case <-c.more:
		case <-end:
			return 0
		case <-stop:
			return 0
		}
	}
}

// Give adds what the other end says that it took. More than the window there never is.
func (c *Credit) Give(n int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.left = min(c.left+n, c.size)
	c.mu.Unlock()
	c.wake()
}

func (c *Credit) wake() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// Debt is how much was taken and not told yet. The zero value tells nothing ever.
type Debt struct {
	// Window is what the other end keeps to.
	Window int64

	owed int64
}

// Add adds what was taken, and returns what is to be told now, 0 = not yet. Not every byte is worth a packet.
func (d *Debt) Add(n int) int64 {
	if d.Window == 0 {
		return 0
	}
	d.owed += int64(n)
	if d.owed < d.Window/4 {
		return 0
	}
	due := d.owed
	d.owed = 0
	return due
}
