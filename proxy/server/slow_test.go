package server

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/hub"
)

func TestASlowReaderIsEndedAndHoldsUpNobodyInTheOtherLane(t *testing.T) {
	d := open(t, hub.Options{BulkStall: time.Second}, "hz-1")
	d.agent(t, d.address, "a", d.agents.agentCert(t, "hz-1", nil))
	d.wait(t, "hz-1", 2)
	endless := serveTCP(t, func(c net.Conn) {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	address := serveTCP(t, echo)
	for _, lane := range []hub.Lane{hub.Bulk, hub.Control} {
		slow, err := d.Dial(t.Context(), "hz-1", endless, lane)
		if err != nil {
			t.Fatal(err)
		}
		control, err := d.Dial(t.Context(), "hz-1", address, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		worst := time.Duration(0)
		for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			began := time.Now()
			ask(t, control, "hello")
			worst = max(worst, time.Since(began))
		}
		t.Logf("with a reader that does not read in lane %s, the slowest control request took %s", lane, worst)
		if stalled := d.value(t, "cellfed_tunnel_stalled_connections_total", "lane", lane.String()); stalled != 1 {
			t.Errorf("%v readers of lane %s were ended", stalled, lane)
		}
		_ = slow.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, slow); err == nil || !strings.Contains(err.Error(), "nobody read") {
			t.Errorf("the slow one was told %v", err)
		}
		_ = control.Close()
	}
}
