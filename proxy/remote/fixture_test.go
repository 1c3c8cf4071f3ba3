package remote

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/go-logr/logr"

	"github.com/cellfed/cellfed/proxy/proxytest/site"
)

// world is a site with those who dial.
type world struct{ *site.Site }

func newWorld(t testing.TB) *world { return &world{site.New(t)} }

// oneServer is a world with one server, an agent of hz-1 there which may reach a target, and somebody who knows of it and may
// dial.
func oneServer(t testing.TB, serve func(net.Conn)) (s *world, d *Servers, to string) {
	t.Helper()
	s = newWorld(t)
	one := s.Serve("one", "127.0.0.1:0", "hz-1")
	to = s.Target(serve)
	s.Agent("hz-1", []string{one.Address}, to)
	d = s.dialler("plane", one.Address)
	s.knows(d, "hz-1", 1)
	return s, d, to
}

// dialler uses servers as somebody.
func (s *world) dialler(who string, addresses ...string) *Servers {
	s.Helper()
	cert := s.Clients.Issue(s, pkix.Name{CommonName: who}, nil)
	d := NewServers(Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: s.Serving.Pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
	}})
	s.Cleanup(d.Close)
	if err := d.Use(addresses); err != nil {
		s.Fatal(err)
	}
	return d
}

// knows waits until so many servers tell of a member's agents.
func (s *world) knows(d *Servers, member string, servers int) {
	s.Helper()
	s.Eventually(fmt.Sprintf("%d servers have agents of %s", servers, member), func() bool { return len(d.with(member)) == servers })
}

// ask sends a word, and wants it back.
func ask(t testing.TB, c net.Conn, word string) {
	t.Helper()
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
		t.Fatalf("%q, %v", got, err)
	}
}
