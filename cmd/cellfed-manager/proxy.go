package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"

	configv1alpha1 "github.com/cellfed/cellfed/pkg/apis/config/v1alpha1"
	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/pkg/tunnels"
	"github.com/cellfed/cellfed/pkg/version"
)

// proxyFlags are what the command line says.
type proxyFlags struct {
	dir                  string
	kubeconfig           string
	files                host.TunnelFiles
	bindAddress          string
	port                 int32
	address, peerAddress string
	name                 string
	behindOne            int
	health               string
	verbosity            uint32
	logFormat            string
}

func newProxyCommand() *cobra.Command {
	f := &proxyFlags{}
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy server on its own",
		Long: `Run a proxy server on its own.

Agents of members behind firewalls hold tunnels open to it, and the plane dials
through them. Run several, so that one may die: agents connect to each, and the
plane finds by itself which has a member's agents. The plane may serve tunnels as
well, or not at all (cellfed server --tunnel-port=-1).

cellfed keys proxy-server makes the directory that it runs from.`,
		Example: `  # Where the plane runs: what a server needs that is reached as proxy-1.example
  cellfed keys proxy-server --data-dir /var/lib/cellfed --out proxy-1 --plane https://plane.example:6443 --host proxy-1.example
  # Where the server runs, with that directory
  cellfed-manager proxy --dir proxy-1 --bind-address 0.0.0.0 --address proxy-1.example:8132`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *proxyFlags) add(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&f.dir, "dir", "", "directory that cellfed keys proxy-server made; the following flags say the same file by file, and win over it")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "how to reach the plane (in a pod of the plane's cluster: its service account)")
	fs.StringVar(&f.files.Cert, "tls-cert-file", "", "certificate that agents and the plane are shown; read anew while it runs")
	fs.StringVar(&f.files.Key, "tls-private-key-file", "", "its key")
	fs.StringVar(&f.files.AgentCA, "agent-ca-file", "", "authority of agents' certificates")
	fs.StringVar(&f.files.ClientCA, "client-ca-file", "", "authority of the certificates of those who dial")
	fs.StringVar(&f.bindAddress, "bind-address", configv1alpha1.DefaultBindAddress, "IP address to serve on")
	fs.Int32Var(&f.port, "port", configv1alpha1.DefaultTunnelPort, "port to serve on; 0 takes a free one")
	fs.StringVar(&f.address, "address", "", "HOST:PORT at which agents reach this server; join tells it to them (default: the bind address, or the machine's name, and the port)")
	fs.StringVar(&f.peerAddress, "plane-side-address", "", "HOST:PORT at which the plane reaches this server, where that is another one than --address")
	fs.IntVar(&f.behindOne, "behind-one-address", 1, "how many servers stand behind --address: agents connect until they have one tunnel to each")
	fs.StringVar(&f.name, "name", "", "name of this server, the same after each start, that no other server of the plane has (default: the machine's name and --port)")
	fs.StringVar(&f.health, "health-address", "127.0.0.1:8133", "where to serve /healthz, /readyz and /metrics; empty serves them nowhere")
	fs.StringVar(&f.logFormat, "logging-format", logsapi.DefaultLogFormat, "text or json")
	fs.Uint32VarP(&f.verbosity, "v", "v", 0, "how much to log; 0 leaves out what libraries tell unasked")
}

// complete fills in what the directory says.
func (f *proxyFlags) complete() error {
	if f.dir != "" {
		in := host.ProxyServerFilesIn(f.dir)
		f.files.Cert, f.files.Key = cmp.Or(f.files.Cert, in.Cert), cmp.Or(f.files.Key, in.Key)
		f.files.AgentCA, f.files.ClientCA = cmp.Or(f.files.AgentCA, in.AgentCA), cmp.Or(f.files.ClientCA, in.ClientCA)
		f.kubeconfig = cmp.Or(f.kubeconfig, host.ProxyServerKubeconfigIn(f.dir))
	}
	for _, c := range []struct{ flag, file string }{
		{"--tls-cert-file", f.files.Cert}, {"--tls-private-key-file", f.files.Key}, {"--agent-ca-file", f.files.AgentCA}, {"--client-ca-file", f.files.ClientCA},
	} {
		if c.file == "" {
			return fmt.Errorf("%s is missing: say --dir with a directory that cellfed keys proxy-server made, or each file", c.flag)
		}
		if _, err := os.Stat(c.file); err != nil {
			return fmt.Errorf("%s: %w", c.flag, err)
		}
	}
	if net.ParseIP(f.bindAddress) == nil {
		return fmt.Errorf("--bind-address=%s is no IP address", f.bindAddress)
	}
	if f.port < 0 || f.port > 65535 {
		return fmt.Errorf("--port=%d: want 0 to 65535", f.port)
	}
	if f.behindOne < 1 {
		return fmt.Errorf("--behind-one-address=%d: want 1 or more", f.behindOne)
	}
	for flag, address := range map[string]string{"--address": f.address, "--plane-side-address": f.peerAddress} {
		if err := checkHostPort(address); address != "" && err != nil {
			return fmt.Errorf("%s=%s: %w", flag, address, err)
		}
	}
	if f.name == "" && f.port == 0 {
		return errors.New("--name is missing: with --port=0 the port does not tell servers of one machine apart")
	}
	if f.name == "" {
		machine, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("finding out the machine's name: %w; say --name", err)
		}
		f.name = machine + "_" + strconv.Itoa(int(f.port))
	}
	if problems := validation.IsConfigMapKey(f.name); len(problems) > 0 {
		return fmt.Errorf("--name=%s: %s", f.name, problems[0])
	}
	return nil
}

func checkHostPort(address string) error {
	name, port, err := net.SplitHostPort(address)
	if n, portErr := strconv.Atoi(port); err != nil || name == "" || portErr != nil || n < 1 || n > 65535 {
		return errors.New("want HOST:PORT")
	}
	return nil
}

// plane is how the plane is reached.
func (f *proxyFlags) plane() (*rest.Config, error) {
	var config *rest.Config
	var err error
	if f.kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", f.kubeconfig)
	}
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("it is not said how to reach the plane: say --dir or --kubeconfig")
	}
	if err != nil {
		return nil, fmt.Errorf("reading how to reach the plane: %w", err)
	}
	config.UserAgent = "cellfed-manager/" + version.String() + " (proxy)"
	return config, nil
}

func (f *proxyFlags) run(cmd *cobra.Command) error {
	if err := f.complete(); err != nil {
		return err
	}
	config, err := f.plane()
	if err != nil {
		return err
	}
	logging := logsapi.NewLoggingConfiguration()
	logging.Verbosity, logging.Format = logsapi.VerbosityLevel(f.verbosity), f.logFormat
	ending, err := host.Log(logging, nil, cmd.ErrOrStderr())
	if err != nil {
		return fmt.Errorf("starting logs: %w", err)
	}
	defer klog.Flush()
	// The log is told before the server: there must be no moment in between.
	ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer cancel()
	context.AfterFunc(cmd.Context(), func() { ending(); cancel() })
	logger := klog.Background().WithName(host.LoggerName)
	ctx = klog.NewContext(ctx, logger)

	registry := prometheus.NewRegistry()
	served := tunnels.New(tunnels.Options{
		BindAddress: net.ParseIP(f.bindAddress), Port: int(f.port), Address: f.address, PeerAddress: f.peerAddress,
		Servers: f.behindOne, Name: f.name, Files: f.files, Metrics: registry,
	}, logger)
	group, ctx := errgroup.WithContext(ctx)
	if f.health != "" {
		group.Go(func() error { return serveHealth(ctx, f.health, served.Ready, registry) })
	}
	group.Go(func() error { return served.Run(ctx, config) })
	return group.Wait()
}
