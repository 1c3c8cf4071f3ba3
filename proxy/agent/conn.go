package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/window"
	"github.com/cellfed/cellfed/proxy/wire"
)

const (
	// A connection is read in pieces that grow with what it brings: most are idle, and there may be many.
	leastRead = 4 << 10
	mostRead  = wire.MostData
	// lastWrites is how long a connection that the server ended has to take what waits for it.
	lastWrites = 5 * time.Second
)

// conn is one connection to an address in the member, from the attempt to reach it on.
type conn struct {
	session *session
	dialID  int64
	address string
	// id is its name once it is established.
	id int64

	// cancel ends the attempt.
	cancel context.CancelFunc
	// gone is closed when the connection ends, by whatever end.
	gone chan struct{}
	// work and room each get a value when there is something to write, and when something was written.
	work, room chan struct{}
	// credit is what may be sent to the server, debt what it is to be told of what was written; only the writer uses it.
	credit *window.Credit
	debt   window.Debt

	mu  sync.Mutex
	net net.Conn
	// queue is what waits to be written, queued how many bytes that is, also while they are being written.
	queue  [][]byte
	queued int64
	// left is what is left of the time for which the connection may hold up its stream. Only the stream's reader uses it,
	// and the writer gives it back in full.
	left time.Duration
	// finishing says that nothing more comes from the server: what is queued is still written.
	finishing bool
	ended     bool
	// silent is set when the server wants no answer; why is what it is told.
	silent bool
	why    string
}

func newConn(s *session, dialID int64, address string) *conn {
	c := &conn{
		session: s, dialID: dialID, address: address, gone: make(chan struct{}),
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), left: s.agent.opts.StallBudget,
	}
	if s.window > 0 {
		c.credit, c.debt.Window = window.NewCredit(s.window), window.Kept(s.agent.opts.QueueBytes)
	}
	return c
}

// run is the life of a connection.
func (c *conn) run() {
	a := c.session.agent
	defer c.session.forget(c)
	nc, err := c.reach()
	if err != nil {
		c.mu.Lock()
		silent := c.silent || c.ended
		c.mu.Unlock()
		if silent {
			a.counts.cancelled.Add(1)
			return
		}
		a.counts.failed.Add(1)
		_ = c.session.send(dialFailed(c.dialID, err.Error()))
		return
	}
	defer func() { _ = nc.Close() }()
	if !c.session.established(c) {
		return
	}
	a.counts.dialled.Add(1)
	err = c.session.send(&client.Packet{Type: client.PacketType_DIAL_RSP, Payload: &client.Packet_DialResponse{
		DialResponse: &client.DialResponse{Random: c.dialID, ConnectID: c.id},
	}})
	if err != nil {
		c.abort("the stream ended")
	}
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read()
	writer.Wait()
	a.queued.Add(-c.clear())
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	_ = c.session.send(closed(c.id, why)) // without a stream nobody waits for it
}

// reach connects to the address.
func (c *conn) reach() (net.Conn, error) {
	o := c.session.agent.opts
	ctx, cancel := context.WithTimeout(c.session.stream.Context(), o.DialTimeout)
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	ended := c.ended
	c.mu.Unlock()
	if ended {
		return nil, context.Canceled
	}
	nc, err := o.dial(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = nc.Close()
		return nil, context.Canceled
	}
	c.net = nc
	return nc, nil
}

// read carries bytes to the server until the connection ends.
func (c *conn) read() {
	buffer, small := make([]byte, leastRead), 0
	for {
		n, err := c.net.Read(buffer)
		if n > 0 && !c.isFinishing() && !c.bring(buffer[:n]) {
			return
		}
		if err != nil {
			why := ""
			if !errors.Is(err, io.EOF) {
				why = fmt.Sprintf("reading from %s: %v", c.address, err)
			}
			if !c.isFinishing() {
				c.abort(why)
			}
			return
		}
		switch {
		case n == len(buffer) && n < mostRead:
			buffer, small = make([]byte, min(2*len(buffer), mostRead)), 0
		case n <= len(buffer)/8:
			if small++; small >= 16 && len(buffer) > leastRead {
				buffer, small = make([]byte, leastRead), 0
			}
		default:
			small = 0
		}
	}
}

// bring sends bytes to the server, as it takes them; false if the connection has ended.
func (c *conn) bring(b []byte) bool {
	for len(b) > 0 {
		part := b[:c.credit.Spend(len(b), c.gone, nil)]
		if len(part) == 0 {
			return false
		}
		packet := &client.Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{Data: &client.Data{ConnectID: c.id, Data: part}}}
		if c.session.send(packet) != nil { // it copies what it sends
			c.abort("the stream ended")
			return false
		}
		c.session.agent.counts.toServer.Add(int64(len(part)))
		b = b[len(part):]
	}
	return true
}

// write writes what waits until the connection ends, or all is written and nothing more comes. When the other side takes
// nothing any more, it may still have said something that is on its way: how the reading ends is the connection's end.
func (c *conn) write() {
	broken := false
	for {
		c.mu.Lock()
		var next []byte
		if len(c.queue) > 0 {
			next = c.queue[0]
			c.queue[0] = nil
			c.queue = c.queue[1:]
		}
		finishing := c.finishing
		c.mu.Unlock()
		if next == nil {
			if finishing {
				c.abort("")
				return
			}
			select {
			case <-c.work:
				continue
			case <-c.gone:
				return
			}
		}
		if !broken {
			if _, err := c.net.Write(next); err == nil {
				c.session.agent.counts.fromServer.Add(int64(len(next)))
			} else if finishing || errors.Is(err, os.ErrDeadlineExceeded) {
				c.wrote(int64(len(next)))
				c.abort(fmt.Sprintf("writing to %s: %v", c.address, err))
				return
			} else {
				broken = true
			}
		}
		c.wrote(int64(len(next)))
		if due := c.debt.Add(len(next)); due > 0 && c.session.send(window.Taken(c.id, due)) != nil {
			c.abort("the stream ended")
			return
		}
	}
}

// wrote makes room.
func (c *conn) wrote(n int64) {
	c.session.agent.queued.Add(-n)
	c.mu.Lock()
	c.queued -= n
	if c.queued == 0 {
		c.left = c.session.agent.opts.StallBudget
	}
	c.mu.Unlock()
	signal(c.room)
}

// clear drops what waits and tells how many bytes that was.
func (c *conn) clear() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.queued
	c.queue, c.queued = nil, 0
	return n
}

// mayHold tells whether a connection may hold so much when all together then hold so much. Those with much have to pay first
// when it is too much; a little is taken from others up to twice as much.
func (a *Agent) mayHold(own, all int64) bool {
	return all <= a.opts.TotalQueueBytes || own <= a.opts.QueueBytes/16 && all <= 2*a.opts.TotalQueueBytes
}

// take queues bytes from the server. A full queue is waited for as long as the connection may hold up its stream; then the
// connection ends, and the others go on.
func (c *conn) take(data []byte) {
	if len(data) == 0 {
		return
	}
	a, n := c.session.agent, int64(len(data))
	c.mu.Lock()
	for {
		if c.ended || c.finishing {
			c.mu.Unlock()
			return
		}
		if own, all := c.queued+n, a.queued.Load()+n; (c.queued == 0 || own <= a.opts.QueueBytes) && a.mayHold(own, all) {
			break
		}
		left := c.left
		c.mu.Unlock()
		if left <= 0 {
			a.counts.stalled.Add(1)
			c.abort(fmt.Sprintf("%s does not take the bytes that are sent to it", c.address))
			return
		}
		begun := time.Now()
		wait := time.NewTimer(left)
		select {
		case <-c.room:
		case <-c.gone:
		case <-wait.C:
		}
		wait.Stop()
		c.mu.Lock()
		c.left = min(c.left, left) - time.Since(begun)
	}
	c.queue = append(c.queue, data)
	c.queued += n
	a.queued.Add(n)
	c.mu.Unlock()
	signal(c.work)
}

// finish ends the connection once what waits for it is written.
func (c *conn) finish() {
	c.mu.Lock()
	c.finishing = true
	nc := c.net
	c.mu.Unlock()
	if nc != nil {
		_ = nc.SetWriteDeadline(time.Now().Add(lastWrites)) // without it the write ends when the peer does
	}
	signal(c.work)
}

// abandon ends an attempt that the server no longer waits for, and a connection that it does not know of.
func (c *conn) abandon() {
	c.mu.Lock()
	c.silent = true
	c.mu.Unlock()
	c.abort("")
}

// abort ends the connection at once. The first reason is the one that is told.
func (c *conn) abort(why string) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended, c.why = true, why
	nc, cancel := c.net, c.cancel
	c.mu.Unlock()
	close(c.gone)
	if cancel != nil {
		cancel()
	}
	if nc != nil {
		_ = nc.Close()
	}
}

func (c *conn) isFinishing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finishing
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
