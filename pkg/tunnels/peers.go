package tunnels

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/proxy/remote"
)

// followPeers has the servers used that the plane's ConfigMap names, but for the one with our own name, until ctx ends.
func followPeers(ctx context.Context, config *rest.Config, ownName string, servers *remote.Servers) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	use := func(data map[string]string) {
		addresses := maps.Clone(data)
		delete(addresses, ownName)
		if err := servers.Use(slices.Sorted(maps.Values(addresses))); err != nil {
			klog.FromContext(ctx).Error(err, "Some tunnel servers cannot be used")
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "configmaps", wellknown.FederationNamespace,
			fields.OneTermEqualSelector("metadata.name", wellknown.TunnelPeersConfigMap)),
		ObjectType: &corev1.ConfigMap{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { use(obj.(*corev1.ConfigMap).Data) },
			UpdateFunc: func(_, obj any) { use(obj.(*corev1.ConfigMap).Data) },
			DeleteFunc: func(any) { use(nil) },
		},
	})
	informer.RunWithContext(ctx)
	return nil
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
