package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest/site"
)

func TestADialGoesToAServerThatHasAgentsOfTheMember(t *testing.T) {
	s := newWorld(t)
	one, two := s.Serve("one", "127.0.0.1:0", "hz-1", "sh-1"), s.Serve("two", "127.0.0.1:0", "hz-1", "sh-1")
	hz, sh := s.Target(site.Says("Hangzhou")), s.Target(site.Says("Shanghai"))
	s.Agent("hz-1", []string{one.Address}, hz)
	s.Agent("sh-1", []string{two.Address}, sh)
	d := s.dialler("plane", one.Address, two.Address)
	s.knows(d, "hz-1", 1)
	s.knows(d, "sh-1", 1)
	for range 4 {
		for _, c := range []struct{ member, address, word string }{{"hz-1", hz, "Hangzhou"}, {"sh-1", sh, "Shanghai"}} {
			conn, err := d.Dial(t.Context(), c.member, c.address, hub.Control)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != c.word {
				t.Errorf("%s says %q, %v", c.member, got, err)
			}
			if a := conn.RemoteAddr().String(); a != c.member+"/"+c.address {
				t.Errorf("it is said to be %s", a)
			}
			_ = conn.Close()
		}
	}
	if agents := d.Agents("hz-1"); len(agents) != 1 || agents[0].NotAfter.Before(time.Now()) {
		t.Errorf("hz-1 has %+v", agents)
	}
}

func TestADialThatFailsSaysWhatItWouldHaveSaidAtTheServer(t *testing.T) {
	s := newWorld(t)
	one := s.Serve("one", "127.0.0.1:0", "hz-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	s.Agent("hz-1", []string{one.Address}, closed)
	d := s.dialler("plane", one.Address)
	s.knows(d, "hz-1", 1)
	server := d.with("hz-1")[0]
	for _, c := range []struct {
		member, address, says string
		is                    any
	}{
		{"hz-1", closed, "connection refused", new(*hub.RefusedError)},
		{"hz-1", "127.0.0.1:1", "not among the addresses allowed", new(*hub.RefusedError)},
		{"nobody", closed, "there is no such member", new(*hub.NoAgentError)},
	} {
		if _, err := server.Dial(t.Context(), c.member, c.address, hub.Bulk); err == nil || !strings.Contains(err.Error(), c.says) || !errors.As(err, c.is) {
			t.Errorf("%s %s: %v", c.member, c.address, err)
		}
	}
	one.Admit("sh-1", "")
	var revoked *hub.RevokedError
	if _, err := server.Dial(t.Context(), "sh-1", closed, hub.Control); !errors.As(err, &revoked) {
		t.Errorf("revoked: %v", err)
	}
	var none *hub.NoAgentError
	if _, err := d.Dial(t.Context(), "sh-1", closed, hub.Control); !errors.As(err, &none) {
		t.Errorf("nobody is connected: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, "hz-1", closed, hub.Control); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestWhoMayNotDialIsToldSo(t *testing.T) {
	s := newWorld(t)
	one := s.Serve("one", "127.0.0.1:0", "hz-1")
	to := s.Target(site.Echo)
	s.Agent("hz-1", []string{one.Address}, to)
	s.Eventually("the agent is connected", func() bool { return len(one.Agents("hz-1")) == 1 })
	config, err := s.dialler("stranger").opts.TLS()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := Connect(one.Address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Close() })
	if _, err := stranger.Dial(t.Context(), "hz-1", to, hub.Control); err == nil || !strings.Contains(err.Error(), "only the plane may") {
		t.Errorf("dialling: %v", err)
	}
	if err := stranger.Follow(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "only the plane may") {
		t.Errorf("asking who is connected: %v", err)
	}
}

func TestAServerThatDiesIsLeftAndFoundAgain(t *testing.T) {
	s := newWorld(t)
	one, two := s.Serve("one", "127.0.0.1:0", "hz-1"), s.Serve("two", "127.0.0.1:0", "hz-1")
	to := s.Target(site.Echo)
	s.Agent("hz-1", []string{one.Address, two.Address}, to)
	d := s.dialler("plane", one.Address, two.Address)
	s.knows(d, "hz-1", 2)
	var news atomic.Int64
	d.Subscribe(t.Context(), func(string) { news.Add(1) })
	var open []net.Conn
	for range 4 {
		c, err := d.Dial(t.Context(), "hz-1", to, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, "hello")
		open = append(open, c)
	}
	var ended atomic.Int64
	for _, c := range open {
		go func() {
			_, _ = c.Read(make([]byte, 1))
			ended.Add(1)
		}()
	}
	one.Stop()
	s.Eventually("what ran through one of two servers has ended", func() bool { return ended.Load() == 2 })
	for range 4 { // none of these may fail, whether or not it is known yet
		c, err := d.Dial(t.Context(), "hz-1", to, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, "hello")
		_ = c.Close()
	}
	s.knows(d, "hz-1", 1)
	if n := ended.Load(); n != 2 {
		t.Errorf("%d connections have ended, and not only those through the server that died", n)
	}
	for _, c := range open {
		_ = c.Close()
	}
	if news.Load() == 0 {
		t.Error("nobody was told")
	}
	s.Serve("one", one.Address, "hz-1")
	s.knows(d, "hz-1", 2)
}

func TestAServerThatShowsNothingIsPassedOver(t *testing.T) {
	s := newWorld(t)
	one, two := s.Serve("one", "127.0.0.1:0", "hz-1"), s.Serve("two", "127.0.0.1:0", "hz-1")
	to := s.Target(site.Echo)
	s.Agent("hz-1", []string{one.Address, two.Address}, to)
	var frozen atomic.Bool
	relay := s.Target(func(c net.Conn) {
		up, err := net.Dial("tcp", one.Address)
		if err != nil {
			return
		}
		defer func() { _ = up.Close() }()
		go func() {
			_, _ = io.Copy(c, up)
			_ = c.Close()
		}()
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if !frozen.Load() {
				_, _ = up.Write(b[:n])
			}
		}
	})
	d := s.dialler("plane", relay, two.Address)
	s.knows(d, "hz-1", 2)
	frozen.Store(true)
	// Sooner than the connection to it is found to be dead, and not later than who dials has patience.
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
	defer cancel()
	for range 2 { // one of them goes to the silent one first
		c, err := d.Dial(ctx, "hz-1", to, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, "hello")
		_ = c.Close()
	}
}

func TestAllThatWasWrittenBeforeTheEndArrives(t *testing.T) {
	s := newWorld(t)
	one := s.Serve("one", "127.0.0.1:0", "hz-1")
	sent := make([]byte, 3<<20+17)
	_, _ = rand.Read(sent)
	got := make(chan []byte, 2)
	to := s.Target(func(c net.Conn) {
		all, _ := io.ReadAll(c)
		got <- all
	})
	from := s.Target(func(c net.Conn) { _, _ = c.Write(sent) })
	s.Agent("hz-1", []string{one.Address}, to, from)
	d := s.dialler("plane", one.Address)
	s.knows(d, "hz-1", 1)
	c, err := d.Dial(t.Context(), "hz-1", to, hub.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write(sent); err != nil || n != len(sent) {
		t.Fatal(n, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if all := <-got; !bytes.Equal(all, sent) {
		t.Errorf("%d of %d bytes arrived", len(all), len(sent))
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("it can be written to after its end")
	}
	if c, err = d.Dial(t.Context(), "hz-1", from, hub.Bulk); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(c); err != nil || !bytes.Equal(all, sent) {
		t.Errorf("%d of %d bytes came, %v", len(all), len(sent), err)
	}
}

func TestManyConnectionsAreApart(t *testing.T) {
	s := newWorld(t)
	one := s.Serve("one", "127.0.0.1:0", "hz-1")
	to := s.Target(site.Echo)
	s.Agent("hz-1", []string{one.Address}, to)
	d := s.dialler("plane", one.Address)
	s.knows(d, "hz-1", 1)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			c, err := d.Dial(t.Context(), "hz-1", to, hub.Bulk)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			sent := make([]byte, 100_000)
			_, _ = rand.Read(sent)
			go func() { _, _ = c.Write(sent) }()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("other bytes came back, %v", err)
			}
		})
	}
	all.Wait()
}

func TestAConnectionKeepsItsDeadlines(t *testing.T) {
	_, d, to := oneServer(t, site.Echo)
	c, err := d.Dial(t.Context(), "hz-1", to, hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	ask(t, c, "still here")
}

func TestAServerThatIsUsedNoMoreEndsWhatRunsThroughIt(t *testing.T) {
	s, d, to := oneServer(t, site.Echo)
	c, err := d.Dial(t.Context(), "hz-1", to, hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Use(nil); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it goes on: %v", err)
	}
	s.knows(d, "hz-1", 0)
	if d.Len() != 0 {
		t.Errorf("%d servers are used", d.Len())
	}
}
