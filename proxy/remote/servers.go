package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/roster"
)

// Options say how to use servers.
type Options struct {
	// TLS is what to connect to a server with: whom to trust, and a client's certificate. It is asked once for each server.
	TLS func() (*tls.Config, error)
	// Log tells of servers that come and go.
	Log logr.Logger
}

// Servers are those that members can be dialled through.
type Servers struct {
	opts     Options
	watchers roster.Watchers

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	servers map[string]*known // by address
	turn    int
}

const (
	// lived is how long a server has to be heard for the next attempt to come at once.
	lived = 5 * time.Second
	// What one server may tell: more is not believed.
	maxMembers = 20_000
	maxAgents  = 64 // of a member
	maxName    = 253
)

// known is a server, and what it has told.
type known struct {
	address string
	server  *Server
	stop    context.CancelFunc
	// members are those whose agents are connected; empty while the server cannot be heard.
	members map[string][]roster.Agent
	// failure is why it cannot be heard; nil while it is.
	failure error
}

// NewServers returns none yet.
func NewServers(opts Options) *Servers {
	return &Servers{opts: opts, servers: map[string]*known{}}
}

// Use has exactly the servers at these addresses used, host:port each. What runs through others is ended.
func (s *Servers) Use(addresses []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for address, k := range s.servers {
		if !slices.Contains(addresses, address) {
			k.stop()
			delete(s.servers, address)
		}
	}
	for _, address := range addresses {
		if s.closed || s.servers[address] != nil {
			continue
		}
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || strings.ContainsFunc(address, unfit) {
			errs = append(errs, fmt.Errorf("%q is not HOST:PORT of a proxy server", address))
			continue
		}
		config, err := s.opts.TLS()
		if err != nil {
			errs = append(errs, &ServerError{address, err})
			continue
		}
		server, err := Connect(address, config)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // a server is used until Use or Close ends it
		k := &known{address: address, server: server, stop: stop, members: map[string][]roster.Agent{}}
		s.servers[address] = k
		s.running.Go(func() { s.follow(ctx, k) })
	}
	return errors.Join(errs...)
}

// unfit are characters that no address has.
func unfit(r rune) bool { return r <= ' ' || r > '~' || r == '%' || r == '/' }

// Len is how many are used.
func (s *Servers) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.servers)
}

// Close ends all that was dialled, and waits until it has.
func (s *Servers) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.Use(nil) // it can only fail to add
	s.running.Wait()
}

// follow hears a server until ctx ends.
func (s *Servers) follow(ctx context.Context, k *known) {
	defer func() { _ = s.serverOf(k).Close() }()
	told := ""
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		began := time.Now()
		err := s.serverOf(k).Follow(ctx, func(e roster.Entry) {
			if e.Complete {
				s.failed(k, nil)
				s.opts.Log.Info("A proxy server is connected", "server", k.address)
				return
			}
			s.heard(k, e)
		})
		if time.Since(began) > lived {
			pause, told = firstPause, ""
		}
		s.failed(k, err)
		if errors.Is(err, errNotTrusted) {
			s.renew(k)
		}
		lost := s.lost(k)
		if ctx.Err() != nil {
			return
		}
		if words := err.Error(); words != told { // once for each reason
			told = words
			s.opts.Log.Info("A proxy server cannot be heard, and is tried again", "server", k.address, "members", lost, "reason", words)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (s *Servers) serverOf(k *known) *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.server
}

// renew connects to a server anew, with the certificate that there is now: a connection keeps the one that it began with.
// What ran through the former one has been ended by the server.
func (s *Servers) renew(k *known) {
	config, err := s.opts.TLS()
	if err != nil {
		s.failed(k, &ServerError{k.address, err})
		return
	}
	server, err := Connect(k.address, config)
	if err != nil {
		s.failed(k, err)
		return
	}
	s.mu.Lock()
	former := k.server
	k.server = server
	s.mu.Unlock()
	_ = former.Close()
}

func (s *Servers) heard(k *known, e roster.Entry) {
	s.mu.Lock()
	_, known := k.members[e.Member]
	switch {
	case len(e.Agents) == 0:
		delete(k.members, e.Member)
	case len(e.Member) > maxName || !known && len(k.members) >= maxMembers:
		s.mu.Unlock()
		return
	default:
		k.members[e.Member] = e.Agents[:min(len(e.Agents), maxAgents)]
	}
	s.mu.Unlock()
	s.watchers.Tell(e.Member)
}

func (s *Servers) failed(k *known, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.failure = err
}

// Failure is why servers cannot be heard; nil if all are.
func (s *Servers) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, address := range slices.Sorted(maps.Keys(s.servers)) {
		errs = append(errs, s.servers[address].failure)
	}
	return errors.Join(errs...)
}

// lost forgets what a server told, and returns of how many members.
func (s *Servers) lost(k *known) int {
	s.mu.Lock()
	members := slices.Collect(maps.Keys(k.members))
	clear(k.members)
	s.mu.Unlock()
	for _, m := range members {
		s.watchers.Tell(m)
	}
	return len(members)
}

// Subscribe has changed called with the name of a member whose agents have come or gone, until ctx ends.
func (s *Servers) Subscribe(ctx context.Context, changed func(member string)) {
	s.watchers.Subscribe(ctx, changed)
}

// Agents are a member's that are connected to any of the servers; one that is connected to several is there several times.
func (s *Servers) Agents(member string) []roster.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []roster.Agent
	for _, k := range s.servers {
		all = append(all, k.members[member]...)
	}
	return all
}

// Dial opens a connection to an address as seen from a member, through a server that has agents of it: those in turn. Its
// errors are those of hub.Hub.Dial, or a *ServerError.
func (s *Servers) Dial(ctx context.Context, member, address string, lane hub.Lane) (net.Conn, error) {
	var failed error
	for _, server := range s.with(member) {
		conn, err := server.Dial(ctx, member, address, lane)
		if err == nil || ctx.Err() != nil || final(err) {
			return conn, err
		}
		failed = err
	}
	if failed == nil {
		failed = s.None(&hub.NoAgentError{Cluster: member})
	}
	return nil, failed
}

// None adds to the error that a member has no agent which servers could not be asked. It says nothing that changes by
// itself, because it stands in a status.
func (s *Servers) None(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var silent []string
	for _, address := range slices.Sorted(maps.Keys(s.servers)) {
		if s.servers[address].failure != nil {
			silent = append(silent, address)
		}
	}
	if len(silent) == 0 {
		return err
	}
	return fmt.Errorf("%w; the log says why these proxy servers cannot be asked: %s", err, strings.Join(silent, ", "))
}

// final tells whether another server would say the same: an agent has answered, or was asked for long enough.
func final(err error) bool {
	var refused *hub.RefusedError
	var slow *hub.SlowAgentError
	return errors.As(err, &refused) || errors.As(err, &slow)
}

// with are the servers that have a member's agents, beginning with another one each time.
func (s *Servers) with(member string) []*Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	var have []*Server
	for _, address := range slices.Sorted(maps.Keys(s.servers)) {
		if k := s.servers[address]; len(k.members[member]) > 0 {
			have = append(have, k.server)
		}
	}
	if len(have) == 0 {
		return nil
	}
	s.turn++
	at := s.turn % len(have)
	return append(slices.Clone(have[at:]), have[:at]...)
}
