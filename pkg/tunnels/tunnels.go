package tunnels

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/identity"
	"github.com/cellfed/cellfed/proxy/remote"
	"github.com/cellfed/cellfed/proxy/server"
)

// mastersGroup may dial members through the server: it may do everything else as well.
const mastersGroup = "system:masters"

// Options say where and by which keys to serve, and whether to dial.
type Options struct {
	// BindAddress is where to listen, and Port on which port: 0 takes a free one, -1 serves no tunnels. With MayMove a free
	// one is taken where another process has the port.
	BindAddress net.IP
	Port        int
	MayMove     bool
	// Address is where agents reach this server, host:port; "" = what the listener and the machine's name say. PeerAddress
	// is where the plane's other processes do; "" = at the same.
	Address, PeerAddress string
	// Servers is how many servers agents reach at Address, one or another of them each time they connect; 0 = 1.
	Servers int
	// Name is this server's, which no other server of the plane has.
	Name string
	// Dials says that this process dials members: through the tunnels that it serves, and through other servers.
	Dials bool
	// Files are the keys and authorities.
	Files host.TunnelFiles
	// Metrics registers metrics; nil = nobody sees them.
	Metrics prometheus.Registerer
}

// sayWaiting is after how long it is told that the plane has not been reached.
const sayWaiting = 3 * time.Second

var errNoServers = errors.New("this plane serves no tunnels, and no other server of them is known: start it with --tunnel-port, or run cellfed-manager proxy")

// Tunnels are those that one process serves, and those of other servers that it dials through.
type Tunnels struct {
	opts  Options
	trust *trust
	hub   *hub.Hub        // nil if it serves none
	peers *remote.Servers // nil if it does not dial
	ready atomic.Bool
}

// New returns tunnels that are not served yet: no agent is connected.
func New(opts Options, logger klog.Logger) *Tunnels {
	logger = logger.WithName("tunnels")
	t := &Tunnels{opts: opts, trust: &trust{files: opts.Files}}
	if opts.Port >= 0 {
		t.hub = hub.New(hub.Options{Name: opts.Name, Servers: opts.Servers, Log: logger, Metrics: opts.Metrics})
	}
	if opts.Dials {
		t.peers = remote.NewServers(remote.Options{Log: logger, TLS: t.toPeers})
	}
	return t
}

// Ready tells whether tunnels are served, or none are meant to be.
func (t *Tunnels) Ready() bool {
	if t.hub == nil {
		return true
	}
	_, err := t.trust.now()
	return err == nil && t.ready.Load()
}

// Dial opens a connection to an address as seen from a member, for traffic that must not wait: through an agent that is
// connected here, or else through another server that has one.
func (t *Tunnels) Dial(ctx context.Context, member, address string) (net.Conn, error) {
	elsewhere := t.peers != nil && len(t.peers.Agents(member)) > 0
	if t.hub == nil && !elsewhere {
		if t.peers == nil || t.peers.Len() == 0 {
			return nil, errNoServers
		}
		return nil, t.peers.None(&hub.NoAgentError{Cluster: member})
	}
	if elsewhere && (t.hub == nil || len(t.hub.Agents(member)) == 0) {
		return t.peers.Dial(ctx, member, address, hub.Control)
	}
	conn, err := t.hub.Dial(ctx, member, address, hub.Control)
	var none *hub.NoAgentError
	switch {
	case !errors.As(err, &none) || t.peers == nil:
		return conn, err
	case elsewhere: // the last one here has gone in this moment
		return t.peers.Dial(ctx, member, address, hub.Control)
	case none.Unknown:
		return nil, err
	}
	return nil, t.peers.None(err)
}

// Agents is how many agents of a member are connected, here or to another server, and when the first of their
// certificates ends.
func (t *Tunnels) Agents(member string) (connected int, certificateEnds time.Time) {
	ends := map[string]time.Time{}
	add := func(id string, notAfter time.Time) {
		if have, known := ends[id]; !known || notAfter.Before(have) {
			ends[id] = notAfter
		}
	}
	if t.hub != nil {
		for _, a := range t.hub.Agents(member) {
			add(a.ID, a.NotAfter)
		}
	}
	if t.peers != nil {
		for _, a := range t.peers.Agents(member) {
			add(a.ID, a.NotAfter)
		}
	}
	for _, at := range ends {
		if certificateEnds.IsZero() || at.Before(certificateEnds) {
			certificateEnds = at
		}
	}
	return len(ends), certificateEnds
}

// Subscribe has changed called with the name of a member whose agents have come or gone, until ctx ends.
func (t *Tunnels) Subscribe(ctx context.Context, changed func(member string)) {
	if t.hub != nil {
		t.hub.Subscribe(ctx, changed)
	}
	if t.peers != nil {
		t.peers.Subscribe(ctx, changed)
	}
}

// Run serves, and keeps in touch with other servers, until ctx ends. config reaches the plane.
func (t *Tunnels) Run(ctx context.Context, config *rest.Config) error {
	group, ctx := errgroup.WithContext(ctx)
	if t.hub != nil {
		group.Go(func() error { return t.serve(ctx, config) })
	}
	if t.peers != nil && t.hub == nil {
		group.Go(func() error { return ensurePlaces(ctx, config) })
	}
	if t.peers != nil {
		group.Go(func() error {
			defer t.peers.Close()
			return followPeers(ctx, config, t.opts.Name, t.peers)
		})
	}
	return group.Wait()
}

func (t *Tunnels) serve(ctx context.Context, config *rest.Config) error {
	if _, err := t.trust.now(); err != nil {
		return err
	}
	listener, err := t.listen(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	address := t.address(listener)
	defer func() { _ = listener.Close() }() // closed already when it was served
	clusters, err := followClusters(ctx, config, t.hub)
	if err != nil {
		return err
	}
	late := time.AfterFunc(sayWaiting, func() {
		klog.FromContext(ctx).Info("Waiting for the plane, which says whose agents to let in", "plane", config.Host)
	})
	defer late.Stop()
	// Not before it is known who may come in: an agent that is refused takes its time before it tries again.
	if !clusters.synced(ctx) {
		return nil // told to end meanwhile
	}
	late.Stop()
	group.Go(func() error {
		return server.New(server.Options{Hub: t.hub, Trust: t.trust.now, MayDial: mayDial}).Serve(ctx, listener)
	})
	group.Go(func() error {
		return publish(ctx, config, t.opts.Name, places{
			wellknown.TunnelServersConfigMap: address, wellknown.TunnelPeersConfigMap: cmp.Or(t.opts.PeerAddress, address),
		})
	})
	t.ready.Store(true)
	klog.FromContext(ctx).Info("Serving tunnels", "address", address)
	err = group.Wait()
	clusters.wait()
	return err
}

func (t *Tunnels) listen(ctx context.Context) (net.Listener, error) {
	var l net.ListenConfig
	host := t.opts.BindAddress.String()
	listener, err := l.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(t.opts.Port)))
	if t.opts.MayMove && errors.Is(err, syscall.EADDRINUSE) {
		klog.FromContext(ctx).Info("Another process has the port of tunnels, so a free one is taken: give --tunnel-port to have always the same", "port", t.opts.Port)
		listener, err = l.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, fmt.Errorf("opening the port of tunnels: %w", err)
	}
	return listener, nil
}

// address is where agents reach the listener.
func (t *Tunnels) address(listener net.Listener) string {
	if t.opts.Address != "" {
		return t.opts.Address
	}
	host := t.opts.BindAddress.String()
	if t.opts.BindAddress.IsUnspecified() {
		host = "127.0.0.1"
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

// mayDial lets the plane's own processes dial, and administrators, who may read every member's credentials anyway.
func mayDial(client *x509.Certificate, _ string) error {
	for _, group := range []string{identity.ClientOrganization, mastersGroup} {
		if slices.Contains(client.Subject.Organization, group) {
			return nil
		}
	}
	return fmt.Errorf("the certificate is of %s, and neither of %s nor of %s", strings.Join(client.Subject.Organization, ", "), identity.ClientOrganization, mastersGroup)
}
