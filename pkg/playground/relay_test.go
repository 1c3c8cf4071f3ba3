package playground

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo listens, answers each connection with all that it said once it has said all, and returns where.
func echo(t *testing.T) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				said, _ := io.ReadAll(conn)
				_, _ = conn.Write(said)
			}()
		}
	}()
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, address net.Addr) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func TestARelayCarriesBothWaysUntilBothHaveSaidAll(t *testing.T) {
	l := listen(t)
	defer startRelay(l, echo(t), nil).close()
	conn := dial(t, l.Addr())
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(conn); err != nil || string(back) != "hello" {
		t.Errorf("back came %q, %v", back, err)
	}
}

func TestARelayThatIsClosedEndsWhatItCarries(t *testing.T) {
	l := listen(t)
	r := startRelay(l, echo(t), nil)
	conn := dial(t, l.Addr())
	r.close()
	if back, err := io.ReadAll(conn); len(back) > 0 || isTimeout(err) {
		t.Errorf("back came %q, %v", back, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
