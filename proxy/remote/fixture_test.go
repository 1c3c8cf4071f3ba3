package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/cellfed/cellfed/proxy/agent"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
	"github.com/cellfed/cellfed/proxy/server"
)

// site has authorities, and servers and agents that believe them.
type site struct {
	testing.TB
	serving, agents, clients *proxytest.Authority
}

func newSite(t testing.TB) *site {
	return &site{t, proxytest.NewAuthority(t, "serving"), proxytest.NewAuthority(t, "agents"), proxytest.NewAuthority(t, "clients")}
}

// place is a server.
type place struct {
	*hub.Hub
	address string
	stop    func()
}

// serve runs a server that admits some members, at an address or at any ("127.0.0.1:0").
func (s *site) serve(name, address string, members ...string) *place {
	s.Helper()
	h := hub.New(hub.Options{Name: name, DialTimeout: 500 * time.Millisecond, Log: logr.Discard()})
	for _, m := range members {
		h.Admit(m, proxytest.Enrolment)
	}
	shown := s.serving.Server(s)
	served := server.New(server.Options{Hub: h,
		Trust: func() (server.Trust, error) {
			return server.Trust{Certificate: shown, Agents: s.agents.Pool, Clients: s.clients.Pool}, nil
		},
		MayDial: func(client *x509.Certificate, _ string) error {
			if client.Subject.CommonName != "plane" {
				return errors.New("only the plane may")
			}
			return nil
		},
	})
	l, err := net.Listen("tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = served.Serve(ctx, l)
	}()
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	s.Cleanup(stop)
	return &place{h, l.Addr().String(), stop}
}

// held are an agent's credentials, which stay.
type held struct {
	cert     *tls.Certificate
	replaced chan struct{}
}

func (h held) Current() (*tls.Certificate, <-chan struct{}) { return h.cert, h.replaced }

// agent runs an agent of a member at some servers, which may reach some addresses.
func (s *site) agent(member string, servers []string, allow ...string) (stop func()) {
	s.Helper()
	cert := s.agents.Agent(s, member, nil)
	a, err := agent.New(agent.Options{
		Servers: servers, Credentials: held{&cert, make(chan struct{})}, ServerCA: func() (*x509.CertPool, error) { return s.serving.Pool, nil }, Allow: allow,
		MaxBackoff: 300 * time.Millisecond, Drain: time.Millisecond,
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	s.Cleanup(stop)
	return stop
}

// dialler uses servers as somebody.
func (s *site) dialler(who string, addresses ...string) *Servers {
	s.Helper()
	cert := s.clients.Issue(s, pkix.Name{CommonName: who}, nil)
	d := NewServers(Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: s.serving.Pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
	}})
	s.Cleanup(d.Close)
	if err := d.Use(addresses); err != nil {
		s.Fatal(err)
	}
	return d
}

// knows waits until so many servers tell of a member's agents.
func (s *site) knows(d *Servers, member string, servers int) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d servers have agents of %s", servers, member), func() bool { return len(d.with(member)) == servers })
}

func (s *site) eventually(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	s.Fatalf("within 20s it did not come true that %s", what)
}

// target serves each connection on loopback by a function.
func (s *site) target(serve func(net.Conn)) string {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// says is a target that says a word and ends.
func says(word string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, word) }
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
