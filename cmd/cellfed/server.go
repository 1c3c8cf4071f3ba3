package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"

	configv1alpha1 "github.com/cellfed/cellfed/pkg/apis/config/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apiserver"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/host"
)

// serverFlags are the settings that a command line can say. Those that were
// given win over the configuration file.
type serverFlags struct {
	config      string
	dataDir     string
	bindAddress string
	securePort  int32
	tunnelPort  int32
	tunnelAt    string
	storage     string
	controllers []string
	gates       map[string]bool
	verbosity   uint32
	replaceKeys bool
}

func newServerCommand() *cobra.Command {
	f := &serverFlags{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a plane",
		Long: `Run a plane: API server, storage, controllers and propagation in one process.

A data directory is all it needs. It makes its keys and certificates there,
encrypts secrets with a key of its own, and writes admin.kubeconfig.`,
		Example: "  cellfed server --data-dir /var/lib/cellfed\n  export KUBECONFIG=/var/lib/cellfed/admin.kubeconfig",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.configuration(cmd.Flags())
			if err != nil {
				return err
			}
			return serve(cmd, c, f.replaceKeys)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *serverFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.config, "config", "", "configuration file, a CellFedConfiguration of config.cellfed.io/v1alpha1; flags win over it")
	fs.StringVar(&f.dataDir, "data-dir", "", "directory for keys, database and admin.kubeconfig; made when missing")
	fs.StringVar(&f.bindAddress, "bind-address", configv1alpha1.DefaultBindAddress, "IP address to serve on")
	fs.Int32Var(&f.securePort, "secure-port", configv1alpha1.DefaultSecurePort, "port to serve on; 0 takes a free one, which admin.kubeconfig tells")
	fs.Int32Var(&f.tunnelPort, "tunnel-port", configv1alpha1.DefaultTunnelPort, "port for the tunnels of members behind firewalls; 0 takes a free one, -1 serves none; unless it is given, a free one is taken where another process has 8132")
	fs.StringVar(&f.tunnelAt, "tunnel-address", "", "HOST:PORT at which agents of members reach this server's tunnels (default: from the bind address)")
	fs.StringVar(&f.storage, "storage", "", "database as a URL, like sqlite:///var/lib/cellfed/state.db (default: SQLite in the data directory)")
	fs.BoolVar(&f.replaceKeys, "replace-keys", false, "once, when the plane's keys are lost: serve with this data directory's, and refuse servers and tokens of the former ones")
	fs.StringSliceVar(&f.controllers, "controllers", []string{configv1alpha1.AllComponents},
		"parts to run: * is all of them, name switches one on, -name switches one off; parts: "+strings.Join(partNames(), ", "))
	fs.Var(cliflag.NewMapStringBool(&f.gates), "feature-gates",
		"features to switch on or off, as in A=true,B=false; each named here wins over the file: "+strings.Join(features.Names(), ", "))
	fs.Uint32VarP(&f.verbosity, "v", "v", 0, "how much to log; 0 leaves out what libraries tell unasked")
}

// configuration is the file with the given flags on top, complete and valid.
func (f *serverFlags) configuration(fs *pflag.FlagSet) (*configv1alpha1.CellFedConfiguration, error) {
	c := &configv1alpha1.CellFedConfiguration{}
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return nil, fmt.Errorf("reading configuration file: %w", err)
		}
		if c, err = configv1alpha1.Decode(data); err != nil {
			return nil, fmt.Errorf("reading configuration file %s: %w", f.config, err)
		}
	}
	configv1alpha1.SetDefaults(c)
	for name, set := range map[string]func(){
		"data-dir":       func() { c.DataDir = f.dataDir },
		"bind-address":   func() { c.BindAddress = f.bindAddress },
		"secure-port":    func() { c.SecurePort = &f.securePort },
		"tunnel-port":    func() { c.Tunnel.Port = &f.tunnelPort },
		"tunnel-address": func() { c.Tunnel.Address = f.tunnelAt },
		"storage":        func() { c.Storage = f.storage },
		"controllers":    func() { c.Components = f.controllers },
		"feature-gates": func() {
			gates := maps.Clone(f.gates)
			for name, on := range c.FeatureGates {
				if _, said := gates[name]; !said {
					gates[name] = on
				}
			}
			c.FeatureGates = gates
		},
		"v": func() { c.Logging.Verbosity = logsapi.VerbosityLevel(f.verbosity) },
	} {
		if fs.Changed(name) {
			set()
		}
	}
	if errs := configv1alpha1.Validate(c, partNames()); len(errs) != 0 {
		return nil, fmt.Errorf("the configuration is not valid: %w", errs.ToAggregate())
	}
	return c, nil
}

// serve runs a plane as configured until the command's context ends.
func serve(cmd *cobra.Command, c *configv1alpha1.CellFedConfiguration, replaceKeys bool) error {
	ending, err := host.Log(&c.Logging, nil, cmd.ErrOrStderr())
	if err != nil {
		return fmt.Errorf("starting logs: %w", err)
	}
	defer klog.Flush()
	// The log is told before the plane: there must be no moment in between.
	ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer cancel()
	context.AfterFunc(cmd.Context(), func() { ending(); cancel() })
	// The plane's clients talk to the plane itself; what it warns its users of
	// needs no repetition in its log.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	ctx = klog.NewContext(ctx, klog.Background().WithName(host.LoggerName))
	plane, err := planeConfig(c)
	if err != nil {
		return err
	}
	plane.ReplaceKeys = replaceKeys
	return apiserver.Run(ctx, plane)
}
