package tunnels

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/server"
)

// mastersGroup may dial members through the server: it may do everything else as well.
const mastersGroup = "system:masters"

// Options say where and by which keys to serve.
type Options struct {
	// BindAddress is where to listen, and Port on which port: 0 takes a free one. With MayMove a free one is taken where
	// another process has the port.
	BindAddress net.IP
	Port        int
	MayMove     bool
	// Address is where agents reach this server, host:port; "" = what the listener and the machine's name say.
	Address string
	// Name is this server's, which no other server of the plane has.
	Name string
	// Files are the keys and authorities.
	Files Files
	// Metrics registers metrics; nil = nobody sees them.
	Metrics prometheus.Registerer
}

// Tunnels are those of one server.
type Tunnels struct {
	opts  Options
	hub   *hub.Hub
	trust *trust
}

// New returns tunnels that are not served yet: no agent is connected.
func New(opts Options, logger klog.Logger) *Tunnels {
	return &Tunnels{opts: opts, trust: &trust{files: opts.Files}, hub: hub.New(hub.Options{
		Name: opts.Name, Log: logger.WithName("tunnels"), Metrics: opts.Metrics,
	})}
}

// Dial opens a connection to an address as seen from a member, for traffic that must not wait.
func (t *Tunnels) Dial(ctx context.Context, member, address string) (net.Conn, error) {
	return t.hub.Dial(ctx, member, address, hub.Control)
}

// Agents is how many agents of a member are connected, and when the first of their certificates ends.
func (t *Tunnels) Agents(member string) (connected int, certificateEnds time.Time) {
	agents := t.hub.Agents(member)
	return len(agents), hub.CertificateEnds(agents)
}

// Subscribe has changed called with the name of a member whose agents have come or gone, until ctx ends.
func (t *Tunnels) Subscribe(ctx context.Context, changed func(member string)) {
	t.hub.Subscribe(ctx, changed)
}

// Run serves until ctx ends. config reaches the plane.
func (t *Tunnels) Run(ctx context.Context, config *rest.Config) error {
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
	// Not before it is known who may come in: an agent that is refused takes its time before it tries again.
	if !clusters.synced(ctx) {
		return nil // told to end meanwhile
	}
	group.Go(func() error {
		return server.New(server.Options{Hub: t.hub, Trust: t.trust.now, MayDial: mayDial}).Serve(ctx, listener)
	})
	group.Go(func() error { return publish(ctx, config, t.opts.Name, address) })
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

// mayDial lets administrators dial, who may read every member's credentials anyway.
func mayDial(client *x509.Certificate, _ string) error {
	if slices.Contains(client.Subject.Organization, mastersGroup) {
		return nil
	}
	return fmt.Errorf("the certificate is not of the group %s but of %s", mastersGroup, strings.Join(client.Subject.Organization, ", "))
}
