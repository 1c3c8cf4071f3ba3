package server

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

// How long exactly anybody waits is tested in package hub, where time stands still; here it is told. A busy machine adds to it.
func TestSlowReadersAreEndedAndHoldUpNobodyForLong(t *testing.T) {
	members := []string{"hz-1", "sh-1", "sz-1", "without-any"}
	d := open(t, hub.Options{BulkStall: time.Second}, members...)
	for _, m := range members {
		d.agent(t, d.address, "a", d.agents.Agent(t, m, nil))
		d.wait(t, m, 2)
	}
	endless := proxytest.Target(t, func(c net.Conn) {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	address := proxytest.Target(t, echo)
	dial := func(member, address string, lane hub.Lane) net.Conn {
		t.Helper()
		c, err := d.Dial(t.Context(), member, address, lane)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var slow []net.Conn
	var group sync.WaitGroup
	began := time.Now()
	for _, m := range members[:3] {
		for lane, stalled := range map[hub.Lane]int{hub.Control: 3, hub.Bulk: 1} {
			for range stalled {
				slow = append(slow, dial(m, endless, lane))
			}
			trickling := dial(m, endless, lane)
			group.Go(func() {
				for b := make([]byte, 1<<10); ; time.Sleep(20 * time.Millisecond) {
					if _, err := trickling.Read(b); err != nil {
						return
					}
					if time.Since(began) > time.Minute {
						t.Error("somebody who reads next to nothing still reads after a minute")
						return
					}
				}
			})
		}
	}
	for _, m := range members {
		control := dial(m, address, hub.Control)
		group.Go(func() {
			worst := time.Duration(0)
			for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				asked := time.Now()
				if !answers(control, "hello") {
					t.Errorf("a control request to %s failed", m)
					return
				}
				worst = max(worst, time.Since(asked))
			}
			t.Logf("the slowest control request to %s took %s", m, worst.Round(time.Millisecond/10))
			if worst > 5*time.Second {
				t.Errorf("a control request to %s took %s", m, worst)
			}
		})
	}
	group.Wait()
	for lane, want := range map[hub.Lane]float64{hub.Control: 12, hub.Bulk: 6} {
		eventually(t, "slow readers were ended", func() bool {
			return d.value(t, "cellfed_tunnel_stalled_connections_total", "lane", lane.String()) >= want
		})
		if n := d.value(t, "cellfed_tunnel_stalled_connections_total", "lane", lane.String()); n != want {
			t.Errorf("%v readers of lane %s were ended, not %v", n, lane, want)
		}
	}
	for _, c := range slow {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); err == nil || !strings.Contains(err.Error(), "too slowly") {
			t.Errorf("a slow one was told %v", err)
		}
	}
}

// answers tells whether a word comes back.
func answers(c net.Conn, word string) bool {
	if _, err := c.Write([]byte(word)); err != nil {
		return false
	}
	back := make([]byte, len(word))
	_, err := io.ReadFull(c, back)
	return err == nil && string(back) == word
}
