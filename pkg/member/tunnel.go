package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// TunnelFunc opens a connection to an address as seen from a member, through a tunnel that the member's agents hold open.
// It is all that the plane knows of tunnels, so that what carries them can be another.
type TunnelFunc func(ctx context.Context, member, address string) (net.Conn, error)

// errNoTunnels is what members behind a tunnel get from a process that has no proxy server.
var errNoTunnels = errors.New("the KubeFedCluster has spec.tunnel, and this plane serves no tunnels: start it with --tunnel-port, or remove spec.tunnel")

// throughTunnel opens a member's connections through its tunnel.
func (o Options) throughTunnel(name string) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if o.Tunnel == nil {
			return nil, errNoTunnels
		}
		if network != "tcp" {
			return nil, fmt.Errorf("dialling %s through the tunnel of member %s: a tunnel carries tcp only, not %s", address, name, network)
		}
		// A second more than the agent has, so that it is the one to say what is wrong.
		ctx, cancel := context.WithTimeoutCause(ctx, o.DialTimeout+time.Second, fmt.Errorf("the tunnel of member %s did not answer: %w", name, context.DeadlineExceeded))
		defer cancel()
		return o.Tunnel(ctx, name, address)
	}
}
