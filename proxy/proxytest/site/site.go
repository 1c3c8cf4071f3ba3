package site

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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

// Site has authorities, and servers and agents that believe them.
type Site struct {
	testing.TB
	Serving, Agents, Clients *proxytest.Authority
}

// New makes the authorities.
func New(t testing.TB) *Site {
	t.Helper()
	return &Site{t, proxytest.NewAuthority(t, "serving"), proxytest.NewAuthority(t, "agents"), proxytest.NewAuthority(t, "clients")}
}

// Server is a proxy server.
type Server struct {
	*hub.Hub
	Address string
	Stop    func()
}

// Serve runs a server that admits some members, and that clients named plane may use, at an address or at any ("127.0.0.1:0").
func (s *Site) Serve(name, address string, members ...string) *Server {
	s.Helper()
	h := hub.New(hub.Options{Name: name, DialTimeout: 500 * time.Millisecond, Log: logr.Discard()})
	for _, m := range members {
		h.Admit(m, proxytest.Enrolment)
	}
	shown := s.Serving.Server(s)
	served := server.New(server.Options{Hub: h,
		Trust: func() (server.Trust, error) {
			return server.Trust{Certificate: shown, Agents: s.Agents.Pool, Clients: s.Clients.Pool}, nil
		},
		MayDial: func(client *x509.Certificate, _ string) error {
			if client.Subject.CommonName != "plane" {
				return errors.New("only the plane may")
			}
			return nil
		},
	})
	l, err := (&net.ListenConfig{}).Listen(s.Context(), "tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	return &Server{h, l.Addr().String(), s.run(func(ctx context.Context) { _ = served.Serve(ctx, l) })}
}

// run runs something until the returned function is called, which waits until it has ended, or the test ends.
func (s *Site) run(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	s.Cleanup(stop)
	return stop
}

// held are an agent's credentials, which stay.
type held struct {
	cert     *tls.Certificate
	replaced chan struct{}
}

func (h held) Current() (*tls.Certificate, <-chan struct{}) { return h.cert, h.replaced }

// Agent runs an agent of a member at some servers, which may reach some addresses.
func (s *Site) Agent(member string, servers []string, allow ...string) (stop func()) {
	s.Helper()
	cert := s.Agents.Agent(s, member, nil)
	a, err := agent.New(agent.Options{
		Servers: servers, Credentials: held{&cert, make(chan struct{})}, ServerCA: func() (*x509.CertPool, error) { return s.Serving.Pool, nil }, Allow: allow,
		MaxBackoff: 300 * time.Millisecond, Drain: time.Millisecond,
	})
	if err != nil {
		s.Fatal(err)
	}
	return s.run(a.Run)
}

// Eventually waits until something is true.
func (s *Site) Eventually(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	s.Fatalf("within 20s it did not come true that %s", what)
}

// Target serves each connection to an address on loopback by a function.
func (s *Site) Target(serve func(net.Conn)) string {
	s.Helper()
	return proxytest.Target(s, serve)
}

// Echo says what it hears.
func Echo(c net.Conn) { _, _ = io.Copy(c, c) }

// Says is a target that says a word and ends.
func Says(word string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, word) }
}
