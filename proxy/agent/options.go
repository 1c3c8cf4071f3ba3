package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Credentials are what an agent shows to servers.
type Credentials interface {
	// Current is the certificate to show, with its Leaf, nil as long as there is none, and a channel that is closed when another takes
	// its place. The same certificate is the same pointer.
	Current() (*tls.Certificate, <-chan struct{})
}

// DefaultAllow is the address that a server may reach when nothing else is said: the member's own API server.
const DefaultAllow = "kubernetes.default.svc:443"

// Options say what an agent connects. Zero values are the defaults.
type Options struct {
	// Servers are addresses of proxy servers, each host:port, each kept up on its own.
	Servers []string
	// Credentials are shown to all of them.
	Credentials Credentials
	// ServerCA is asked for each new stream whom to trust.
	ServerCA func() (*x509.CertPool, error)
	// ServerName is the name in the servers' certificates, when it is not the host in their address.
	ServerName string
	// Allow are the addresses, as seen from here, that servers may reach (DefaultAllow).
	Allow []string
	// UserAgent is how this process names itself.
	UserAgent string
	Logger    *slog.Logger

	// Drain is how long connections may go on when the agent ends (10s).
	Drain time.Duration
	// DialTimeout bounds one attempt to reach an address (5s), OpenTimeout one to open a stream (10s).
	DialTimeout, OpenTimeout time.Duration
	// KeepaliveTime is how long nothing may come before the server is asked (10s, and gRPC has it no shorter), and
	// KeepaliveTimeout how long it then has (5s).
	KeepaliveTime, KeepaliveTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pauses between attempts (0.1s, 15s). A stream that lived for Lived (5s) has them
	// begin anew.
	MinBackoff, MaxBackoff, Lived time.Duration
	// QueueBytes is how much may wait for one connection to take it (1 MiB), which is also the window that servers are told.
	// StallBudget is how long a connection whose queue is full all the same may hold up its stream until the queue was
	// empty once (250ms). TotalQueueBytes is for all of them (64 MiB), but for a little of each.
	QueueBytes, TotalQueueBytes int64
	StallBudget                 time.Duration
	// MaxConnections bounds the connections of all streams (10,000).
	MaxConnections int64

	// dial reaches an address; tests put another in.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// maxServers is how many servers behind one address are believed in.
const maxServers = 16

func (o Options) withDefaults() (Options, error) {
	if len(o.Servers) == 0 {
		return o, errors.New("no server to connect to is given")
	}
	for _, s := range o.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return o, fmt.Errorf("the server %q is not host:port: %w", s, err)
		}
	}
	if len(o.Allow) == 0 {
		o.Allow = []string{DefaultAllow}
	}
	for _, a := range o.Allow {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return o, fmt.Errorf("the allowed address %q is not host:port", a)
		}
	}
	orElse(&o.Drain, 10*time.Second)
	orElse(&o.DialTimeout, 5*time.Second)
	orElse(&o.OpenTimeout, 10*time.Second)
	orElse(&o.KeepaliveTime, 10*time.Second)
	orElse(&o.KeepaliveTimeout, 5*time.Second)
	orElse(&o.MinBackoff, 100*time.Millisecond)
	orElse(&o.MaxBackoff, 15*time.Second)
	orElse(&o.Lived, 5*time.Second)
	orElse(&o.QueueBytes, 1<<20)
	orElse(&o.TotalQueueBytes, 64<<20)
	orElse(&o.StallBudget, 250*time.Millisecond)
	orElse(&o.MaxConnections, 10_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.dial == nil {
		o.dial = (&net.Dialer{}).DialContext
	}
	return o, nil
}

func orElse[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// allowlist are the addresses that servers may reach.
type allowlist map[string]bool

func newAllowlist(addresses []string) allowlist {
	l := allowlist{}
	for _, a := range addresses {
		l[canonical(a)] = true
	}
	return l
}

func (l allowlist) has(protocol, address string) bool {
	return protocol == "tcp" && l[canonical(address)]
}

// canonical writes an address in one way: names know no case, and IP addresses have several forms.
func canonical(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip != nil {
		host = ip.String()
	}
	return net.JoinHostPort(strings.ToLower(host), port)
}
