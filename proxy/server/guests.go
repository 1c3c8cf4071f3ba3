package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// role is what somebody may come as, and the authority that says so.
type role struct {
	name      string
	authority func(Trust) *x509.CertPool
}

var (
	anAgent = role{"an agent's", func(t Trust) *x509.CertPool { return t.Agents }}
	aClient = role{"a client's", func(t Trust) *x509.CertPool { return t.Clients }}
)

// guest is who is behind a stream that is being served.
type guest struct {
	role  role
	shown []*x509.Certificate
	from  net.Addr
	// ctx ends when the guest is not trusted any more, and after the stream.
	ctx context.Context
	end context.CancelCauseFunc
	// by is the authority that vouched for the guest last.
	by *x509.CertPool
}

func (g *guest) cert() *x509.Certificate { return g.shown[0] }

// bound is the context of a guest's stream, which ends with the guest's certificate and with the trust in it as well.
func (g *guest) bound(stream context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(stream)
	stop := context.AfterFunc(g.ctx, func() { end(context.Cause(g.ctx)) })
	ctx, cancel := context.WithDeadlineCause(ctx, g.cert().NotAfter, fmt.Errorf("the certificate, which was %s, has expired", g.role.name))
	return ctx, func() {
		stop()
		cancel()
		end(context.Canceled)
	}
}

// guests are all of a server's.
type guests struct {
	mu  sync.Mutex
	all map[*guest]bool
}

func (g *guests) add(who *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[*guest]bool{}
	}
	g.all[who] = true
}

func (g *guests) remove(who *guest) {
	who.end(context.Canceled)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, who)
}

func (g *guests) list() []*guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*guest, 0, len(g.all))
	for who := range g.all {
		out = append(out, who)
	}
	return out
}

// admit lets in who is behind a stream, with a certificate that the role's authority vouches for now. The caller removes
// the guest.
func (s *Server) admit(ctx context.Context, as role) (*guest, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Internal, "the stream has no other side")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the connection has no TLS")
	}
	trust, err := s.opts.Trust()
	if err != nil {
		return nil, status.Error(codes.Unavailable, "the server cannot read what to trust")
	}
	g := &guest{role: as, shown: info.State.PeerCertificates, from: p.Addr, by: as.authority(trust)}
	if err := verify(g.shown, g.by); err != nil {
		message := fmt.Sprintf("the certificate is not %s: %v", as.name, err)
		s.opts.Hub.Refused("certificate", p.Addr, message)
		return nil, status.Error(codes.Unauthenticated, message)
	}
	// Not with the stream: who serves it knows better why it ended.
	g.ctx, g.end = context.WithCancelCause(context.WithoutCancel(ctx))
	s.guests.add(g)
	return g, nil
}

// look ends the streams of guests whose authority is trusted no more, until ctx ends.
func (s *Server) look(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		trust, err := s.opts.Trust()
		if err != nil {
			continue // on doubt nobody is sent away: new ones are refused meanwhile
		}
		for _, g := range s.guests.list() {
			s.judge(g, g.role.authority(trust))
		}
	}
}

// judge judges a guest by an authority, if it is another than the last time.
func (s *Server) judge(g *guest, authority *x509.CertPool) {
	if g.ctx.Err() != nil || authority != nil && g.by.Equal(authority) {
		return
	}
	if err := verify(g.shown, authority); err != nil {
		message := fmt.Sprintf("the certificate is not %s any more: %v", g.role.name, err)
		s.opts.Hub.Refused("certificate", g.from, message)
		g.end(errors.New(message))
		return
	}
	g.by = authority
}
