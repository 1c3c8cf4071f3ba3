package member

import (
	"context"
	"net"
	"net/http"
)

// fencedError says that nothing was sent because the fence was closed, which says nothing about the member.
type fencedError struct{ why error }

// Error implements error.
func (e *fencedError) Error() string { return e.why.Error() }

// Unwrap gives what the fence said.
func (e *fencedError) Unwrap() error { return e.why }

// mayGo asks the fence before a write. It may still be closed by the time that the write leaves (a connection has to be
// made first, or the process is frozen in between), so the connection asks again; but what is refused here is known not
// to have left, and costs no connection.
func (w *watched) mayGo(req *http.Request) error {
	fence := w.member.opts.Fence
	if fence == nil || req.Method == http.MethodGet || req.Method == http.MethodHead {
		return nil
	}
	if err := fence(); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return &fencedError{err}
	}
	return nil
}

// fenced makes connections on which nothing is sent while the fence is closed, reads included: below TLS, one request
// cannot be told from another.
func fenced(dial DialFunc, fence func() error) DialFunc {
	if fence == nil {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &fencedConn{conn, fence}, nil
	}
}

type fencedConn struct {
	net.Conn
	fence func() error
}

// Write implements net.Conn.
func (c *fencedConn) Write(p []byte) (int, error) {
	if err := c.fence(); err != nil {
		return 0, &fencedError{err}
	}
	return c.Conn.Write(p)
}
