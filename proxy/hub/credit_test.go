package hub

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/window"
)

func TestAWriteThatCameTooLateCostsNoCredit(t *testing.T) {
	const size = 100_000
	s := &stream{hub: New(Options{}), wire: &playedAgent{ctx: context.Background()}, window: size, sending: make(chan struct{}, 1), over: make(chan struct{})}
	s.sent = s.hub.metrics.bytes.WithLabelValues("out", s.lane.String())
	c := newConn(s, "a:1")
	c.credit = window.NewCredit(size)
	s.sending <- struct{}{} // somebody else sends, and does not get it done
	for range 20 {
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := c.Write(make([]byte, size/10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(n, err)
		}
	}
	<-s.sending
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Write(make([]byte, size)); n != size || err != nil {
		t.Errorf("afterwards %d bytes can be sent, %v", n, err)
	}
}
