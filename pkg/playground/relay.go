package playground

import (
	"io"
	"net"
	"sync"
)

// relay carries connections from a listener to an address.
type relay struct {
	listener net.Listener
	target   string
	// admits says whether a connection may pass; nil = all may.
	admits func(net.Conn) bool

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
}

func startRelay(listener net.Listener, target string, admits func(net.Conn) bool) *relay {
	r := &relay{listener: listener, target: target, admits: admits, open: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // Only close ends it.
			}
			go r.carry(conn)
		}
	}()
	return r
}

func (r *relay) carry(from net.Conn) {
	if !r.keep(from) {
		return
	}
	defer r.drop(from)
	if r.admits != nil && !r.admits(from) {
		return
	}
	to, err := net.Dial("tcp", r.target)
	if err != nil || !r.keep(to) {
		return // The other side sees its connection end, as when a server has gone.
	}
	defer r.drop(to)
	var both sync.WaitGroup
	both.Go(func() { pour(to, from) })
	both.Go(func() { pour(from, to) })
	both.Wait()
}

// pour copies until one side has said all, and tells the other so. An error ends both directions.
func pour(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = from.Close()
		_ = to.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // It fails on a connection that is gone, which is as good.
	}
}

func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = conn.Close()
		return false
	}
	r.open[conn] = true
	return true
}

func (r *relay) drop(conn net.Conn) {
	r.mu.Lock()
	delete(r.open, conn)
	r.mu.Unlock()
	_ = conn.Close()
}

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	_ = r.listener.Close()
	for conn := range r.open {
		_ = conn.Close()
	}
}
