package hub

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	wirepb "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/cellfed/cellfed/proxy/window"
	"github.com/cellfed/cellfed/proxy/wire"
)

const (
	small = 1 << 10
	// A connection may hold back keep bytes at any time, and more, up to keepMost, as long as all of its stream together
	// hold less than keepAll.
	keep     = 256 << 10
	keepMost = 4 << 20
	keepAll  = 64 << 20
	// The reader of a connection that is full must read drain within its lane's time, or it is ended. That is as much as
	// may be on its way on one stream: so whatever comes behind it waits for it once.
	drain = 1 << 20
)

// conn is a connection through a tunnel.
type conn struct {
	stream  *stream
	id      int64 // set before anybody else knows the connection
	address string

	readable, room chan struct{} // one token each: look again
	closed         chan struct{}
	closing        sync.Once
	reads, writes  deadline
	credit         *window.Credit

	mu     sync.Mutex
	chunks [][]byte
	held   int
	why    error // what a read gives after the chunks
	// full is when no more could be held, and goal what must not be exceeded before more is taken; 0 = it is not full.
	full time.Time
	goal int
	// behind is how far the reader was behind, at a moment, who is to read drain in its lane's time while there is
	// something to read.
	behind time.Duration
	at     time.Time
	// debt is what was read and need not be told yet, due what the agent is being told: a goroutine does while that is not 0.
	debt window.Debt
	due  int64
}

func newConn(s *stream, address string) *conn {
	c := &conn{stream: s, address: address, readable: make(chan struct{}, 1), room: make(chan struct{}, 1), closed: make(chan struct{})}
	c.reads.init()
	c.writes.init()
	if s.window > 0 {
		c.credit, c.debt.Window = window.NewCredit(s.window), window.Size
	}
	return c
}

func wake(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// deliver gives the reader what the agent sent. It is called by the stream's receiver, which everybody on the stream waits
// for: so it waits for the reader as long as the lane allows, and then ends the connection.
func (c *conn) deliver(data []byte) {
	if len(data) == 0 {
		return
	}
	for !c.put(data) {
		left := c.patience()
		if left <= 0 {
			c.stream.hub.metrics.stalled.WithLabelValues(c.stream.lane.String()).Inc()
			c.abandon(errStalled)
			return
		}
		patience := time.NewTimer(left)
		select {
		case <-c.room:
		case <-c.closed:
		case <-c.stream.over:
			patience.Stop()
			return
		case <-patience.C:
		}
		patience.Stop()
	}
}

// put keeps data for the reader, if there is room. What is full has room again when much of it was read.
func (c *conn) put(data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.why != nil:
		return true // nobody will read it
	case c.goal > 0 && c.held > c.goal:
		return false
	case c.goal > 0:
		c.goal = 0
	case c.held >= keepMost || c.held >= keep && c.stream.held.Load() >= keepAll:
		c.full, c.goal = time.Now(), c.held-min(drain, c.held/2)
		return false
	}
	if c.held == 0 {
		c.at, c.behind = time.Now(), 0
	}
	// Small packets share memory: each by itself would cost many times what it holds.
	if n := len(c.chunks); n > 0 && len(data) < small && len(c.chunks[n-1])+len(data) <= wire.MostData {
		c.chunks[n-1] = append(c.chunks[n-1], data...)
	} else {
		c.chunks = append(c.chunks, data)
	}
	c.held += len(data)
	c.stream.held.Add(int64(len(data)))
	wake(c.readable)
	return true
}

// patience is how much longer the reader of a full connection is waited for: as long as it may be behind, so that the
// times of several who do not read run out together and not one after the other, and in any case as long as the lane
// allows.
func (c *conn) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keepUp(0)
	stall := c.stream.hub.opts.stall(c.stream.lane)
	return min(stall-c.behind, stall-time.Since(c.full))
}

// keepUp counts how far the reader, who has read n bytes, is behind; not further than to be ended for it, so that one who
// reads again is soon forgiven.
func (c *conn) keepUp(n int) {
	now := time.Now()
	stall := c.stream.hub.opts.stall(c.stream.lane)
	c.behind += now.Sub(c.at) - stall*time.Duration(n)/drain
	c.behind, c.at = min(max(0, c.behind), stall), now
}

// abandon ends the connection from here, without what waits.
func (c *conn) abandon(why error) {
	c.mu.Lock()
	c.stream.held.Add(-int64(c.held))
	c.chunks, c.held, c.why = nil, 0, why
	c.mu.Unlock()
	if c.stream.drop(c) {
		c.stream.sendLater(closeRequest(c.id))
	}
	c.shut()
}

// fail ends the connection from the other side: what has come can still be read.
func (c *conn) fail(why error) {
	c.mu.Lock()
	if c.why == nil {
		c.why = why
	}
	c.mu.Unlock()
	c.shut()
}

func (c *conn) shut() {
	c.closing.Do(func() { close(c.closed) })
	wake(c.readable)
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		if expired(c.reads.wait()) {
			return 0, os.ErrDeadlineExceeded
		}
		n, got, err := c.get(b)
		if got {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.closed:
		case <-c.reads.wait():
		}
	}
}

// get reads what is there; false = nothing yet.
func (c *conn) get(b []byte) (n int, got bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chunks) == 0 {
		return 0, c.why != nil || len(b) == 0, c.why
	}
	for n < len(b) && len(c.chunks) > 0 {
		m := copy(b[n:], c.chunks[0])
		n += m
		if c.chunks[0] = c.chunks[0][m:]; len(c.chunks[0]) == 0 {
			c.chunks[0] = nil
			c.chunks = c.chunks[1:]
		}
	}
	if len(c.chunks) == 0 {
		c.chunks = nil
	} else {
		wake(c.readable) // another reader may wait
	}
	c.keepUp(n)
	c.held -= n
	c.stream.held.Add(-int64(n))
	wake(c.room)
	if due := c.debt.Add(n); due > 0 {
		if c.due += due; c.due == due {
			go c.tell(due)
		}
	}
	return n, true, nil
}

// tell tells the agent what was read, and what is read meanwhile. The reader does not wait for it.
func (c *conn) tell(due int64) {
	for due > 0 && c.stream.send(c.closed, window.Taken(c.id, due)) == nil {
		c.mu.Lock()
		c.due -= due
		due = c.due
		c.mu.Unlock()
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		if expired(c.writes.wait()) {
			return written, os.ErrDeadlineExceeded
		}
		select {
		case <-c.closed:
			return written, c.writeError()
		default:
		}
		part := b[:c.credit.Spend(min(len(b), wire.MostData), c.writes.wait(), c.closed)]
		if len(part) == 0 {
			continue // something else came first
		}
		err := c.stream.send(c.writes.wait(), &wirepb.Packet{Type: wirepb.PacketType_DATA, Payload: &wirepb.Packet_Data{
			// gRPC has encoded it before Send returns, so that the caller may use its bytes again.
			Data: &wirepb.Data{ConnectID: c.id, Data: part},
		}})
		if errors.Is(err, errStopped) {
			c.credit.Give(int64(len(part))) // it was not sent
			return written, os.ErrDeadlineExceeded
		}
		if err != nil {
			return written, err
		}
		c.stream.sent.Add(float64(len(part)))
		written += len(part)
		b = b[len(part):]
	}
	return written, nil
}

// writeError is why nothing can be written any more.
func (c *conn) writeError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil || errors.Is(c.why, io.EOF) {
		return net.ErrClosed
	}
	return c.why
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !errors.Is(c.why, net.ErrClosed)
	remote := c.why != nil
	c.stream.held.Add(-int64(c.held))
	c.chunks, c.held, c.why = nil, 0, net.ErrClosed
	c.mu.Unlock()
	if first && !remote && c.stream.drop(c) {
		c.stream.sendLater(closeRequest(c.id))
	}
	c.shut()
	return nil
}

// Addr is an address as seen from a member.
type Addr struct{ Member, Address string }

// Network implements net.Addr.
func (Addr) Network() string { return "tunnel" }

// String implements net.Addr.
func (a Addr) String() string { return a.Member + "/" + a.Address }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return Addr{"", c.stream.hub.opts.Name} }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return Addr{c.stream.who.Cluster, c.address} }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.reads.set(t)
	c.writes.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.reads.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writes.set(t)
	return nil
}

// deadline is a moment that may be moved; its channel is closed when it has passed.
type deadline struct {
	mu     sync.Mutex
	passed chan struct{}
	timer  *time.Timer
	// move is counted, so that a timer that was too late to be stopped finds that it is not the one.
	move int
}

func (d *deadline) init() { d.passed = make(chan struct{}) }

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.move++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	// Who waits on the former channel must learn of the new deadline, so an old one that has not passed is kept.
	if expired(d.passed) {
		d.passed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		close(d.passed)
		return
	}
	move := d.move
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.move == move {
			close(d.passed)
		}
	})
}

func expired(passed <-chan struct{}) bool {
	select {
	case <-passed:
		return true
	default:
		return false
	}
}
