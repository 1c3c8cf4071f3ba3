package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/cellfed/cellfed/proxy/agent"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/server"
)

const (
	member    = "bench"
	enrolment = "abcd1234"
)

// openTunnel starts a proxy server and an agent, and returns when the agent holds both lanes open.
func openTunnel(ctx context.Context, k *keys, t *target) (*hub.Hub, error) {
	shown, err := k.server("tunnels")
	if err != nil {
		return nil, err
	}
	h := hub.New(hub.Options{})
	h.Admit(member, enrolment)
	trust := server.Trust{Certificate: shown, Agents: k.pool, Clients: x509.NewCertPool()}
	s := server.New(server.Options{Hub: h, Trust: func() (server.Trust, error) { return trust, nil }})
	l, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	go func() { _ = s.Serve(ctx, l) }() // without it the agent does not come
	own, err := k.client(identity.Identity{Cluster: member, Enrolment: enrolment}.CommonName(), identity.Organization)
	if err != nil {
		return nil, err
	}
	a, err := agent.New(agent.Options{
		Servers: []string{l.Addr().String()}, Credentials: lasting{&own}, Allow: []string{t.secure, t.plain},
		ServerCA: func() (*x509.CertPool, error) { return k.pool, nil },
	})
	if err != nil {
		return nil, err
	}
	go a.Run(ctx)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if agents := h.Agents(member); len(agents) == 1 && agents[0].Streams == 2 {
			return h, nil
		}
	}
	return nil, errors.New("the agent has not come within 30s")
}

// lasting is a certificate that no other takes the place of.
type lasting struct{ cert *tls.Certificate }

// Current implements agent.Credentials.
func (l lasting) Current() (*tls.Certificate, <-chan struct{}) { return l.cert, nil }
