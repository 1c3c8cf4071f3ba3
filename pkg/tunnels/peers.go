package tunnels

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/proxy/remote"
)

const (
	// gonePatience is how long a server is still used that the ConfigMap names no more: somebody may have deleted that by
	// mistake, and then each server writes its own line again in its time.
	gonePatience = 2 * time.Minute
	// lookAgain is how often it is looked which servers are gone for so long, and which could not be used.
	lookAgain = 30 * time.Second
)

// peers are the servers that are used, by address, with when the ConfigMap named them last.
type peers struct {
	ownName string
	servers *remote.Servers

	mu    sync.Mutex
	named map[string]bool
	last  map[string]time.Time
}

// name takes what the ConfigMap says; our own line is left out.
func (p *peers) name(data map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.named = map[string]bool{}
	for name, address := range data {
		if name != p.ownName && address != "" {
			p.named[address] = true
		}
	}
}

// use has the servers used that are named, or were a moment ago.
func (p *peers) use(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address := range p.named {
		p.last[address] = now
	}
	maps.DeleteFunc(p.last, func(_ string, at time.Time) bool { return now.Sub(at) > gonePatience })
	return p.servers.Use(slices.Sorted(maps.Keys(p.last)))
}

// followPeers has the servers used that the plane's ConfigMap names, but for the one with our own name, until ctx ends.
func followPeers(ctx context.Context, config *rest.Config, ownName string, servers *remote.Servers) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	p := &peers{ownName: ownName, servers: servers, last: map[string]time.Time{}}
	told := ""
	use := func() {
		err := p.use(time.Now())
		if err == nil {
			told = ""
		} else if err.Error() != told {
			told = err.Error()
			klog.FromContext(ctx).Error(err, "Some proxy servers cannot be used, which is tried again")
		}
	}
	changed := make(chan struct{}, 1)
	take := func(obj any) {
		p.name(obj.(*corev1.ConfigMap).Data)
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "configmaps", wellknown.FederationNamespace,
			fields.OneTermEqualSelector("metadata.name", wellknown.TunnelPeersConfigMap)),
		ObjectType: &corev1.ConfigMap{},
		// One that is deleted takes no server away: it is written again.
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: take, UpdateFunc: func(_, obj any) { take(obj) }},
	})
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { informer.RunWithContext(ctx) })
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-look.C:
		}
		use()
	}
}

// toPeers is what to connect to other servers with. The certificate is read at each handshake, because it is renewed.
func (t *Tunnels) toPeers() (*tls.Config, error) {
	roots, err := pool(t.opts.Files.ServerCA)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.opts.Files.ClientCert, t.opts.Files.ClientKey)
			if err != nil {
				return nil, fmt.Errorf("reading the certificate to dial with: %w", err)
			}
			return &cert, nil
		},
	}, nil
}
