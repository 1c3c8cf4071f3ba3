package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/roster"
)

// tell tells a client who is connected, first all and then each change, as long as its certificate is good.
func (s *Server) tell(ctx context.Context, send func(roster.Entry) error) error {
	g, err := s.admit(ctx, aClient)
	if err != nil {
		return err
	}
	defer s.guests.remove(g)
	if err := s.opts.MayDial(g.cert(), ""); err != nil {
		message := fmt.Sprintf("%s may not know who is connected: %v", g.cert().Subject.CommonName, err)
		s.opts.Hub.Refused("client", g.from, message)
		return status.Error(codes.PermissionDenied, message)
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	news := &news{members: map[string]bool{}, came: make(chan struct{}, 1)}
	s.opts.Hub.Subscribe(ctx, news.add)
	for member, agents := range s.opts.Hub.Connected() {
		if err := send(entry(member, agents)); err != nil {
			return err
		}
	}
	if err := send(roster.Entry{Complete: true}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return status.Error(codes.Unauthenticated, context.Cause(ctx).Error())
		case <-news.came:
		}
		for member := range news.take() {
			if err := send(entry(member, s.opts.Hub.Agents(member))); err != nil {
				return err
			}
		}
	}
}

func entry(member string, agents []hub.Agent) roster.Entry {
	e := roster.Entry{Member: member}
	for _, a := range agents {
		e.Agents = append(e.Agents, roster.Agent{ID: a.ID, NotAfter: a.NotAfter.Truncate(time.Second)})
	}
	return e
}

// news are the members of which there is something to tell. However slow the listener, each is there once.
type news struct {
	came chan struct{} // one token: there is something

	mu      sync.Mutex
	members map[string]bool
}

func (n *news) add(member string) {
	n.mu.Lock()
	n.members[member] = true
	n.mu.Unlock()
	select {
	case n.came <- struct{}{}:
	default:
	}
}

func (n *news) take() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.members
	n.members = map[string]bool{}
	return taken
}
