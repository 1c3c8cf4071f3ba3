package tunnels

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/proxytest/site"
	"github.com/cellfed/cellfed/proxy/remote"
)

// process is one that dials through the tunnels that it serves itself, if it does, and through another server.
func process(s *site.Site, own *site.Server, other string) *Tunnels {
	s.Helper()
	cert := s.Clients.Issue(s, pkix.Name{CommonName: "plane"}, nil)
	peers := remote.NewServers(remote.Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: s.Serving.Pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
	}})
	s.Cleanup(peers.Close)
	if err := peers.Use([]string{other}); err != nil {
		s.Fatal(err)
	}
	t := &Tunnels{peers: peers}
	if own != nil {
		t.hub = own.Hub
	}
	return t
}

func TestAMemberIsDialledWhereverItsAgentsAre(t *testing.T) {
	s := site.New(t)
	own, other := s.Serve("own", "127.0.0.1:0", "here", "there", "both"), s.Serve("other", "127.0.0.1:0", "here", "there", "both")
	to := s.Target(site.Says("hello"))
	s.Agent("here", []string{own.Address}, to)
	s.Agent("there", []string{other.Address}, to)
	s.Agent("both", []string{own.Address, other.Address}, to)
	with, without := process(s, own, other.Address), process(s, nil, other.Address)
	for _, m := range []string{"here", "there", "both"} {
		s.Eventually(m+" has one agent", func() bool {
			n, ends := with.Agents(m)
			return n == 1 && ends.After(time.Now())
		})
	}
	s.Eventually("both are known elsewhere", func() bool {
		there, _ := without.Agents("there")
		both, _ := without.Agents("both")
		return there == 1 && both == 1
	})
	for _, c := range []struct {
		from    *Tunnels
		member  string
		reached bool
	}{
		{with, "here", true}, {with, "there", true}, {with, "both", true}, {with, "nobody", false},
		{without, "here", false}, {without, "there", true}, {without, "both", true},
	} {
		conn, err := c.from.Dial(t.Context(), c.member, to)
		if c.reached != (err == nil) {
			t.Errorf("%s: %v", c.member, err)
		}
		if err != nil {
			continue
		}
		if said, err := io.ReadAll(conn); string(said) != "hello" || err != nil {
			t.Errorf("%s says %q, %v", c.member, said, err)
		}
		_ = conn.Close()
	}

	own.Stop() // and what is left is elsewhere
	conn, err := with.Dial(t.Context(), "both", to)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	var none *hub.NoAgentError
	if _, err := with.Dial(t.Context(), "here", to); !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
}

func TestAProcessWithoutAnyServerSaysSo(t *testing.T) {
	w := &Tunnels{peers: remote.NewServers(remote.Options{Log: logr.Discard()})}
	if _, err := w.Dial(t.Context(), "hz-1", "127.0.0.1:1"); !errors.Is(err, errNoServers) {
		t.Errorf("%v", err)
	}
}

func TestOnlyThePlaneAndAdministratorsMayDial(t *testing.T) {
	for group, may := range map[string]bool{
		identity.ClientOrganization: true, "system:masters": true, identity.Organization: false, identity.ServerOrganization: false, "": false,
	} {
		if err := mayDial(&x509.Certificate{Subject: pkix.Name{Organization: []string{group}}}, "hz-1"); may != (err == nil) {
			t.Errorf("%q: %v", group, err)
		}
	}
}
