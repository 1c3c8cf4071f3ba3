package remote

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest/site"
	"github.com/cellfed/cellfed/proxy/roster"
)

func TestARenewedCertificateIsTakenUpWhenTheFormerOneEnds(t *testing.T) {
	s := newWorld(t)
	one := s.Serve("one", "127.0.0.1:0", "hz-1")
	to := s.Target(site.Echo)
	s.Agent("hz-1", []string{one.Address}, to)
	// The first one ends soon; whoever asks again gets a good one.
	short := s.Clients.Issue(s, pkix.Name{CommonName: "plane"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(4 * time.Second) })
	var asked atomic.Int64
	long := s.Clients.Issue(s, pkix.Name{CommonName: "plane"}, nil)
	d := NewServers(Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: s.Serving.Pool, MinVersion: tls.VersionTLS12, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if asked.Add(1) == 1 {
				return &short, nil
			}
			return &long, nil
		}}, nil
	}})
	t.Cleanup(d.Close)
	if err := d.Use([]string{one.Address}); err != nil {
		t.Fatal(err)
	}
	s.knows(d, "hz-1", 1)
	c, err := d.Dial(t.Context(), "hz-1", to, hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, _ = c.Read(make([]byte, 1)) // it ends with the certificate, if it was not made so late that it has the other one
	s.Eventually("the server is used with the other certificate", func() bool {
		c, err := d.Dial(t.Context(), "hz-1", to, hub.Control)
		if err != nil {
			return false
		}
		ask(t, c, "hello")
		_ = c.Close()
		return true
	})
}

func TestWhatTheMemberSaidLastArrivesAlsoWhenItTakesNothingMore(t *testing.T) {
	said := make([]byte, 1<<20+12345)
	_, _ = rand.Read(said)
	end := make(chan struct{})
	defer close(end)
	_, d, to := oneServer(t, func(c net.Conn) {
		_, _ = c.Write(said)
		_ = c.(*net.TCPConn).CloseWrite() // to close it with something unread would take back what was written
		<-end
	})
	c, err := d.Dial(t.Context(), "hz-1", to, hub.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	b := make([]byte, 16<<10)
	for {
		n, err := c.Read(b)
		got += n
		if err != nil {
			if got != len(said) || err != io.EOF {
				t.Errorf("%d of %d bytes, %v", got, len(said), err)
			}
			return
		}
		_, _ = c.Write([]byte("more")) // which nobody takes
		time.Sleep(time.Millisecond)
	}
}

func TestThousandsOfConnectionsShareOneToTheServer(t *testing.T) {
	_, d, to := oneServer(t, site.Echo)
	var all sync.WaitGroup
	open := make(chan net.Conn, 1500)
	for range 15 {
		all.Go(func() {
			for range 100 {
				c, err := d.Dial(t.Context(), "hz-1", to, hub.Bulk)
				if err != nil {
					t.Error(err)
					return
				}
				open <- c
			}
		})
	}
	all.Wait()
	close(open)
	for c := range open {
		ask(t, c, "still here")
		_ = c.Close()
	}
}

func TestAConnectionThatIsClosedInTheMiddleOfAWriteLeavesNothing(t *testing.T) {
	deaf := make(chan struct{})
	defer close(deaf)
	s, d, to := oneServer(t, func(net.Conn) { <-deaf })
	c, err := d.Dial(t.Context(), "hz-1", to, hub.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	if n, err := c.Write(make([]byte, 64<<20)); err == nil {
		t.Fatalf("%d bytes were taken", n)
	}
	_ = c.Close()
	s.Eventually("nobody sends any more", func() bool {
		stacks := make([]byte, 4<<20)
		all := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(all, "proxy/remote.send(") && !strings.Contains(all, "(*front).fromClient(")
	})
}

func TestWhatAServerTellsIsBounded(t *testing.T) {
	s := NewServers(Options{Log: logr.Discard()})
	k := &known{members: map[string][]roster.Agent{}}
	s.heard(k, roster.Entry{Member: strings.Repeat("x", maxName+1), Agents: make([]roster.Agent, 1)})
	s.heard(k, roster.Entry{Member: "hz-1", Agents: make([]roster.Agent, 1000)})
	if len(k.members) != 1 || len(k.members["hz-1"]) != maxAgents {
		t.Errorf("%d members, %d agents", len(k.members), len(k.members["hz-1"]))
	}
	for i := range maxMembers + 10 {
		s.heard(k, roster.Entry{Member: string(rune('a'+i%26)) + strings.Repeat("y", i%200) + string(rune(i+1000)), Agents: make([]roster.Agent, 1)})
	}
	if len(k.members) > maxMembers {
		t.Errorf("%d members", len(k.members))
	}
}
