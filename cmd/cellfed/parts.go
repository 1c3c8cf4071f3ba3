package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/config/crd"
	configv1alpha1 "github.com/cellfed/cellfed/pkg/apis/config/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/apiserver"
	"github.com/cellfed/cellfed/pkg/election"
	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/pkg/manager"
	"github.com/cellfed/cellfed/pkg/metrics"
	"github.com/cellfed/cellfed/pkg/settings"
	"github.com/cellfed/cellfed/pkg/tunnels"
	"github.com/cellfed/cellfed/pkg/typeschema"
	"github.com/cellfed/cellfed/webhooks/admission"
	"github.com/cellfed/cellfed/webhooks/conversion"
)

// planeConfig puts together what a plane is made of.
func planeConfig(c *configv1alpha1.CellFedConfiguration) (apiserver.Config, error) {
	crds, err := crd.All()
	if err != nil {
		return apiserver.Config{}, err
	}
	way, err := tunnelsOf(c)
	if err != nil {
		return apiserver.Config{}, err
	}
	door := admission.NewInProcess(admission.Options{TopologyTypes: c.TopologyTypes, Gates: c.Gates()})
	return apiserver.Config{
		DataDir:     c.DataDir,
		BindAddress: net.ParseIP(c.BindAddress),
		SecurePort:  int(*c.SecurePort),
		Storage:     c.Storage,
		KMS:         keyService(c),
		CRDs:        crds,
		Namespaces:  []string{wellknown.FederationNamespace, wellknown.UnitsNamespace},
		Conversion:  convert,
		Closed:      isFederated,
		Admission:   []apiserver.AdmissionPlugin{{Name: admission.PluginName, New: door.New}},
		// The door's own watches are no part that can be switched off: without them it refuses everything.
		Parts:     []apiserver.Part{{Name: "admission", Run: door.Run}, {Name: "tunnels", Run: way.Run}},
		Candidate: candidate(c, way),
	}, nil
}

// tunnelsOf are the tunnels that this server serves, and those of other servers that it dials through.
func tunnelsOf(c *configv1alpha1.CellFedConfiguration) (*tunnels.Tunnels, error) {
	name, err := tunnelName(c.DataDir)
	if err != nil {
		return nil, err
	}
	opts := tunnels.Options{
		BindAddress: net.ParseIP(c.BindAddress), Port: configv1alpha1.DefaultTunnelPort, MayMove: true, Address: c.Tunnel.Address,
		Name: name, Dials: true, Files: host.TunnelFilesIn(c.DataDir), Metrics: legacyregistry.Registerer(),
	}
	if c.Tunnel.Port != nil {
		opts.Port, opts.MayMove = int(*c.Tunnel.Port), false
	}
	return tunnels.New(opts, klog.Background().WithName(host.LoggerName)), nil
}

// tunnelName is what this server is called among those of a plane, the same after each start: agents tell servers apart
// by it, and it stands where the plane tells of its tunnels.
func tunnelName(dataDir string) (string, error) {
	machine, err := os.Hostname()
	if err != nil {
		machine = "cellfed"
	}
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return "", fmt.Errorf("naming the server: %w", err)
	}
	sum := sha256.Sum256([]byte(dir))
	return machine + "_" + hex.EncodeToString(sum[:4]), nil
}

// keyService is the plugin that the configuration names.
func keyService(c *configv1alpha1.CellFedConfiguration) *host.KMS {
	k := c.Encryption.KMS
	if k == nil {
		return nil
	}
	return &host.KMS{Name: k.Name, Endpoint: k.Endpoint, Timeout: k.Timeout.Duration}
}

// isFederated tells which CRDs were made from a FederatedTypeConfig.
func isFederated(definition *apiextensionsv1.CustomResourceDefinition) bool {
	_, ours := typeschema.IsOurs(definition)
	return ours
}

// convert answers the API server in its own process.
func convert(_ context.Context, review []byte) ([]byte, error) { return conversion.ReviewJSON(review) }

// partNames are the names of all parts that can be switched: what --controllers and the file's components speak of.
func partNames() []string {
	var names []string
	for _, p := range apiserver.Upstream() {
		names = append(names, p.Name)
	}
	return append(names, manager.PartNames...)
}

// startSettings are the settings of the configuration. A KubeFedConfig may say otherwise while the plane runs.
func startSettings(c *configv1alpha1.CellFedConfiguration) settings.Settings {
	return settings.Settings{
		Gates:   c.Gates(),
		Workers: int(*c.Propagation.Concurrency),
		Health: settings.Health{
			Period: c.ClusterHealthCheck.Period.Duration, Timeout: c.ClusterHealthCheck.Timeout.Duration,
			FailureThreshold: int(*c.ClusterHealthCheck.FailureThreshold), SuccessThreshold: int(*c.ClusterHealthCheck.SuccessThreshold),
		},
	}
}

// enabledParts are the parts that the configuration switches on. CellFed's own controllers share caches and the
// connections to members, and so are one part with switches inside.
func enabledParts(c *configv1alpha1.CellFedConfiguration, way *tunnels.Tunnels, identity string, fence func() error) []apiserver.Part {
	var on []apiserver.Part
	for _, p := range apiserver.Upstream() {
		if c.Enabled(p.Name) {
			on = append(on, p)
		}
	}
	if !slices.ContainsFunc(manager.PartNames, c.Enabled) {
		return on
	}
	files := host.TunnelFilesIn(c.DataDir)
	return append(on, apiserver.Part{Name: "controllers", Run: func(ctx context.Context, config *rest.Config) error {
		return manager.Run(ctx, config, manager.Options{
			Tunnels:         way,
			MemoryPerMember: c.Propagation.MemoryPerMember.Value(),
			Fence:           fence,
			TunnelCA:        manager.TunnelCA{CertFile: files.AgentCA, KeyFile: files.AgentCAKey},
			UserAgent:       "cellfed (" + identity + ")",
			Enabled:         c.Enabled,
			Conversion:      typeschema.InProcess(),
			Settings:        startSettings(c),
		})
	}})
}

// candidate runs the enabled parts on the server that leads; nil if there are none.
func candidate(c *configv1alpha1.CellFedConfiguration, way *tunnels.Tunnels) func(context.Context, *rest.Config, string) error {
	if len(enabledParts(c, way, "", nil)) == 0 {
		return nil
	}
	return func(ctx context.Context, loopback *rest.Config, identity string) error {
		metrics.Register()
		if !c.Elects() {
			metrics.Leading(true)
			return runAll(ctx, loopback, enabledParts(c, way, identity, nil))
		}
		metrics.Leading(false)
		e := c.LeaderElection
		return election.Run(ctx, loopback, election.Options{
			Identity: identity, Namespace: wellknown.FederationNamespace, Name: e.ResourceName,
			LeaseDuration: e.LeaseDuration.Duration, RenewDeadline: e.RenewDeadline.Duration, RetryPeriod: e.RetryPeriod.Duration,
			Observe: metrics.Leading,
		}, func(ctx context.Context, config *rest.Config, fence *election.Fence) error {
			return runAll(ctx, config, enabledParts(c, way, identity, fence.Check))
		})
	}
}

// runAll runs parts until ctx ends or one of them fails, and returns when all have ended.
func runAll(ctx context.Context, config *rest.Config, parts []apiserver.Part) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		group.Go(func() error {
			if err := p.Run(ctx, rest.CopyConfig(config)); err != nil && ctx.Err() == nil {
				return fmt.Errorf("running %s: %w", p.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}
