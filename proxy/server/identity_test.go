package server

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

func TestAnAgentIsWhoItsCertificateSaysAndNobodyElse(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "sh-1")
	good := d.agents.Agent(t, "hz-1", nil)
	foreign := proxytest.NewAuthority(t, "foreign")
	for name, c := range map[string]struct {
		stream func(t *testing.T) error
		want   string
	}{
		// Whoever fails in the handshake may learn no more than that the connection ended; the server tells why.
		"a foreign authority": {func(t *testing.T) error { return d.try(t, foreign.Agent(t, "hz-1", nil)) }, ""},
		"an expired one": {func(t *testing.T) error {
			return d.try(t, d.agents.Agent(t, "hz-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
		}, ""},
		"a client's": {func(t *testing.T) error {
			return d.try(t, d.clients.Agent(t, "hz-1", nil))
		}, "not an agent's"},
		"one of a server": {func(t *testing.T) error {
			return d.try(t, d.agents.Agent(t, "hz-1", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
		}, ""},
		"another organization": {func(t *testing.T) error {
			return d.try(t, d.agents.Issue(t, pkix.Name{CommonName: identity.Identity{Cluster: "hz-1", Enrolment: proxytest.Enrolment}.CommonName(), Organization: []string{"system:masters"}}, nil))
		}, "organization"},
		"another enrolment": {func(t *testing.T) error {
			return d.try(t, d.agents.Issue(t, pkix.Name{CommonName: identity.Identity{Cluster: "hz-1", Enrolment: "00000000"}.CommonName(), Organization: []string{identity.Organization}}, nil))
		}, "not admitted"},
		"a member that is unknown": {func(t *testing.T) error { return d.try(t, d.agents.Agent(t, "bj-1", nil)) }, "no member bj-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.stream(t); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	for _, m := range []string{"hz-1", "sh-1"} {
		if agents := d.Agents(m); len(agents) > 0 {
			t.Errorf("%s has %+v", m, agents)
		}
	}
	// A client's handshake ends before the server has judged the certificate, so that it can know before the server counts.
	for reason, least := range map[string]float64{"expired": 1, "certificate": 4, "revoked": 1, "unknown": 1} {
		eventually(t, fmt.Sprintf("%v were refused as %s", least, reason), func() bool {
			return d.value(t, "cellfed_tunnel_refused_total", "reason", reason) >= least
		})
	}
	// What it says of itself leads nowhere.
	s := d.bare(t, good, "sh-1", "host=sh-1&ipv4=127.0.0.1&default-route=true")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	d.wait(t, "hz-1", 1)
	if agents := d.Agents("sh-1"); len(agents) > 0 {
		t.Errorf("an agent of hz-1 serves sh-1: %+v", agents)
	}
}

func TestRevokingEndsWhatThereIs(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "sh-1")
	for _, m := range []string{"hz-1", "sh-1"} {
		d.agent(t, d.address, "a", d.agents.Agent(t, m, nil))
		d.wait(t, m, 2)
	}
	address := proxytest.Target(t, echo)
	conns := map[string]net.Conn{}
	for _, m := range []string{"hz-1", "sh-1"} {
		c, err := d.Dial(t.Context(), m, address, hub.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ask(t, c, "hello")
		conns[m] = c
	}
	d.Admit("hz-1", "")
	_ = conns["hz-1"].SetReadDeadline(time.Now().Add(5 * time.Second))
	var revoked *hub.RevokedError
	if _, err := conns["hz-1"].Read(make([]byte, 1)); !errors.As(err, &revoked) {
		t.Errorf("a connection of a revoked agent: %v", err)
	}
	ask(t, conns["sh-1"], "still here")
	time.Sleep(300 * time.Millisecond) // the agent tries again all the time
	if agents := d.Agents("hz-1"); len(agents) > 0 {
		t.Errorf("a revoked agent is back: %+v", agents)
	}
	if n := d.log.with("not admitted"); n != 1 {
		t.Errorf("that a revoked agent comes again and again was told %d times", n)
	}
	d.Admit("hz-1", proxytest.Enrolment)
	d.wait(t, "hz-1", 2)
}

func TestATunnelEndsWithItsCertificate(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1")
	s := d.bare(t, d.agents.Agent(t, "hz-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Second) }), "a", "")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	if ends := d.value(t, "cellfed_tunnel_certificate_expiry_timestamp_seconds", "member", "hz-1"); ends < float64(time.Now().Unix()) || ends > float64(time.Now().Unix()+3) {
		t.Errorf("the expiry is shown as %v", ends)
	}
	if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v", err)
	}
}

func TestAnAuthorityThatIsTakenOutOfThePoolEndsWhatItVouchedFor(t *testing.T) {
	d := open(t, hub.Options{}, "hz-1", "sh-1")
	nextAgents, nextClients := proxytest.NewAuthority(t, "agents"), proxytest.NewAuthority(t, "clients")
	d.trusts.set(pool(d.agents, nextAgents), pool(d.clients, nextClients), nil)
	d.agent(t, d.address, "a", d.agents.Agent(t, "hz-1", nil))
	d.agent(t, d.address, "a", nextAgents.Agent(t, "sh-1", nil))
	d.wait(t, "hz-1", 2)
	d.wait(t, "sh-1", 2)
	address := proxytest.Target(t, echo)
	conns := map[string]net.Conn{}
	for name, dial := range map[string]func() (net.Conn, error){
		"through the former agents": func() (net.Conn, error) { return d.Dial(t.Context(), "hz-1", address, hub.Control) },
		"through the next agents":   func() (net.Conn, error) { return d.Dial(t.Context(), "sh-1", address, hub.Control) },
		"of a former client":        func() (net.Conn, error) { return d.client(t, "operator", "sh-1", address, d.clients) },
		"of a next client":          func() (net.Conn, error) { return d.client(t, "operator", "sh-1", address, nextClients) },
	} {
		c, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ask(t, c, "hello")
		conns[name] = c
	}
	ends := func(name string) error {
		t.Helper()
		ended := make(chan error, 1)
		go func() {
			_, err := conns[name].Read(make([]byte, 1))
			ended <- err
		}()
		select {
		case err := <-ended:
			delete(conns, name)
			if err == nil {
				t.Errorf("the connection %s gave a byte that nobody wrote", name)
			}
			return err
		case <-time.After(20 * time.Second):
			t.Fatalf("the connection %s goes on", name)
			return nil
		}
	}
	others := func() {
		t.Helper()
		time.Sleep(2*lookAgain + 100*time.Millisecond) // whom it hits wrongly it hits by now
		for _, c := range conns {
			ask(t, c, "hello")
		}
	}

	// On doubt nobody is sent away, and the same authorities read anew are the same.
	d.trusts.set(nil, nil, errors.New("it is being written"))
	others()
	d.trusts.set(pool(nextAgents), pool(nextClients, d.clients), nil)
	if err := ends("through the former agents"); !strings.Contains(err.Error(), "not an agent's any more") {
		t.Errorf("the end of trust was told as %v", err)
	}
	eventually(t, "both of its streams are gone", func() bool { return len(d.Agents("hz-1")) == 0 })
	others()
	d.trusts.set(pool(nextAgents), pool(nextClients), nil)
	ends("of a former client")
	others()
}
