package tunnel

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// relay listens on a local port, dials for each connection, and keeps what passes.
type relay struct {
	address string
	dial    func(context.Context) (net.Conn, error)

	mu     sync.Mutex
	passed bytes.Buffer
	open   map[net.Conn]bool
}

func newRelay(t *testing.T, dial func(context.Context) (net.Conn, error)) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: l.Addr().String(), dial: dial, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.carry(t.Context(), c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for c := range r.open {
			_ = c.Close()
		}
		r.mu.Unlock()
		running.Wait()
	})
	return r
}

// carry connects a connection with what was dialled for it. Where nothing can be dialled it just ends, as a port does.
func (r *relay) carry(ctx context.Context, local net.Conn) {
	defer r.end(local)
	r.begin(local)
	remote, err := r.dial(ctx)
	if err != nil {
		return
	}
	defer r.end(remote)
	r.begin(remote)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.MultiWriter(remote, r), local)
		r.end(remote)
	}()
	_, _ = io.Copy(io.MultiWriter(local, r), remote)
	r.end(local)
	<-done
}

func (r *relay) begin(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[c] = true
}

func (r *relay) end(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// Write implements io.Writer: it keeps what passes.
func (r *relay) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed.Write(b)
}

// has tells whether a word has passed, and how many bytes did.
func (r *relay) has(word string) (found bool, bytesPassed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.passed.Bytes(), []byte(word)), r.passed.Len()
}

// port is a local port that leads to the member's API server through its tunnel. dir is where join left the agent's files.
func (s *site) port(dir string) string {
	s.Helper()
	dial, host := s.dialer(dir), s.host()
	return newRelay(s.T, func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", host) }).address
}
