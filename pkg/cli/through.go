package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/remote"
)

const throughHelp = `Reach a member's API server through its tunnel, for as long as this command runs.

A port of this machine's loopback leads through the plane and the member's agent
to the member's API server: with kubectl exec, attach, logs and port-forward as
with everything else. TLS is end to end, from kubectl to the member. A kubeconfig
for it is written to a file that only you can read and that goes with the command;
or a command is run with it, given after --, and its exit code is this one's.

You come to the member with your own credentials (--member-kubeconfig), or else
with those that the plane comes with. The plane lets pass who shows a client
certificate of the group system:masters, as admin.kubeconfig has.

Exit codes: 0 done, 1 tried and failed, 2 wrong usage, or the command's.`

const throughExample = `  # One command in the member, as who you are there
  kubectl cellfed tunnel hz-1 --member-kubeconfig hz-1.kubeconfig -- kubectl logs -f deploy/web -n shop

  # A port that stays, and with it what kubectl needs
  kubectl cellfed tunnel hz-1 --write-kubeconfig hz-1-tunnel.kubeconfig
  kubectl --kubeconfig hz-1-tunnel.kubeconfig get pods -A     # in another terminal`

// throughOptions are the arguments of tunnel, and what it talks to.
type throughOptions struct {
	name             string
	command          []string
	memberKubeconfig string
	memberContext    string
	servers          []string
	listen           string
	write            string
	wait             time.Duration

	streams genericiooptions.IOStreams
	plane   *cluster
	config  *rest.Config
}

func newThroughCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &throughOptions{listen: "127.0.0.1:0", wait: 15 * time.Second, streams: streams}
	cmd := &cobra.Command{
		Use:     "tunnel NAME [-- COMMAND [ARG]...]",
		Short:   "Reach a member's API server through its tunnel",
		Long:    throughHelp,
		Example: throughExample,
		Args: func(cmd *cobra.Command, args []string) error {
			before := cmd.ArgsLenAtDash()
			if before < 0 {
				before = len(args)
			}
			o.command = args[before:]
			return exactlyOneName(cmd, args[:before])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			if err := o.validate(); err != nil {
				return err
			}
			var err error
			if o.plane, err = planeClients(flags); err != nil {
				return err
			}
			if o.config, err = flags.ToRESTConfig(); err != nil {
				return fmt.Errorf("reading how to reach the plane: %w", err)
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.memberKubeconfig, "member-kubeconfig", "", "Kubeconfig with your credentials for the member; its server is not used (default: the plane's credentials)")
	f.StringVar(&o.memberContext, "member-context", "", "Context of the member in that kubeconfig (default: its current one)")
	f.StringSliceVar(&o.servers, "tunnel-server", nil, "HOST:PORT of a proxy server of the plane as seen from here; may be repeated (default: those the plane tells)")
	f.StringVar(&o.listen, "listen", o.listen, "IP:PORT of this machine that leads to the member; port 0 takes a free one")
	f.StringVar(&o.write, "write-kubeconfig", "", "File to write the kubeconfig to; it must not be there (default: one in the temporary directory)")
	f.DurationVar(&o.wait, "wait", o.wait, "How long an agent of the member may take to be found")
	return cmd
}

func (o *throughOptions) validate() error {
	for _, s := range o.servers {
		if err := checkHostPort(s); err != nil {
			return usagef("--tunnel-server=%s: %v", s, err)
		}
	}
	host, _, err := net.SplitHostPort(o.listen)
	if ip := net.ParseIP(host); err != nil || ip == nil {
		return usagef("--listen=%s: want IP:PORT", o.listen)
	} else if !ip.IsLoopback() {
		return usagef("--listen=%s: everybody in that network would come to the member through it; want an address of loopback", o.listen)
	}
	if o.wait <= 0 {
		return usagef("--wait=%s: want more than nothing", o.wait)
	}
	if o.memberContext != "" && o.memberKubeconfig == "" {
		return usagef("--member-context is of --member-kubeconfig, which was not given")
	}
	return nil
}

func (o *throughOptions) run(ctx context.Context) error {
	kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
	if err != nil {
		return asPlane(err)
	}
	switch {
	case kfc == nil:
		return fmt.Errorf("there is no member %s", o.name)
	case kfc.Spec.Tunnel == nil:
		return fmt.Errorf("member %s has no tunnel: it is reached directly, at %s", o.name, kfc.Spec.APIEndpoint)
	}
	target, err := url.Parse(kfc.Spec.APIEndpoint)
	if err != nil || target.Hostname() == "" {
		return fmt.Errorf("spec.apiEndpoint of member %s, %q, is no URL", o.name, kfc.Spec.APIEndpoint)
	}
	access, err := o.access(ctx, kfc)
	if err != nil {
		return err
	}
	servers, err := o.dialler(ctx)
	if err != nil {
		return err
	}
	defer servers.Close()
	if err := o.find(ctx, servers); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("opening a port: %w", err)
	}
	f := &forward{servers: servers, member: o.name, address: net.JoinHostPort(target.Hostname(), cmp.Or(target.Port(), "443")), told: o.streams.ErrOut}
	// A command that is told to end may need its connections to do so in good order: what is served ends after it.
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		f.serve(serving, listener)
	}()
	defer func() { cancel(); <-served }()
	access.REST.Host = "https://" + listener.Addr().String() + target.Path
	access.REST.ServerName = cmp.Or(access.REST.ServerName, target.Hostname())
	file, err := o.kubeconfig(access)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	if len(o.command) > 0 {
		return o.execute(ctx, file)
	}
	fmt.Fprintf(o.streams.Out, "%s leads to member %s until this command ends (Ctrl-C). In another terminal:\n  export KUBECONFIG=%s\n", access.REST.Host, o.name, file)
	<-ctx.Done()
	return nil
}

// access is with which credentials to come to the member, and how to know it.
func (o *throughOptions) access(ctx context.Context, kfc *corev1beta1.KubeFedCluster) (member.Config, error) {
	secret, err := get[corev1.Secret](ctx, o.plane, secrets, wellknown.FederationNamespace, kfc.Spec.SecretRef.Name)
	if err != nil && o.memberKubeconfig == "" {
		return member.Config{}, fmt.Errorf("%w: give --member-kubeconfig with credentials of yours", err)
	}
	config, err := member.ConfigFor(kfc, secret)
	if err != nil && o.memberKubeconfig == "" {
		return member.Config{}, fmt.Errorf("the plane's credentials for member %s cannot be used: %w", o.name, err)
	}
	if o.memberKubeconfig == "" {
		return config, nil
	}
	own, err := loadMember(o.memberKubeconfig, o.memberContext)
	if err != nil {
		return member.Config{}, err
	}
	return member.Config{REST: own.config}, nil
}

// dialler uses the proxy servers that the plane tells of, with the certificate of whoever this is.
func (o *throughOptions) dialler(ctx context.Context) (*remote.Servers, error) {
	addresses := o.servers
	if len(addresses) == 0 {
		told, err := get[corev1.ConfigMap](ctx, o.plane, configMaps, wellknown.FederationNamespace, wellknown.TunnelPeersConfigMap)
		if err != nil {
			return nil, err
		}
		if told == nil || len(told.Data) == 0 {
			return nil, errors.New("the plane tells of no proxy server: give --tunnel-server")
		}
		addresses = slices.Compact(slices.Sorted(maps.Values(told.Data)))
	}
	config := rest.CopyConfig(o.config)
	config.ServerName = "" // it was said of the API
	to, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading your certificate: %w", err)
	}
	if to == nil || len(to.Certificates) == 0 && to.GetClientCertificate == nil {
		return nil, errors.New("tunnels are dialled with a client certificate, and your kubeconfig for the plane has none: use the plane's admin.kubeconfig")
	}
	servers := remote.NewServers(remote.Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) { return to.Clone(), nil }})
	if err := servers.Use(addresses); servers.Len() == 0 {
		return nil, err
	}
	return servers, nil
}

// find waits until a server tells of an agent of the member.
func (o *throughOptions) find(ctx context.Context, servers *remote.Servers) error {
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, o.wait)
	defer cancel()
	news := make(chan struct{}, 1)
	servers.Subscribe(ctx, func(changed string) {
		if changed == o.name {
			select {
			case news <- struct{}{}:
			default:
			}
		}
	})
	for len(servers.Agents(o.name)) == 0 {
		select {
		case <-news:
		case <-ctx.Done():
			if parent.Err() != nil {
				return parent.Err()
			}
			if why := servers.Failure(); why != nil {
				return fmt.Errorf("no agent of member %s was found within %s: %w", o.name, o.wait, why)
			}
			return fmt.Errorf("no agent of member %s is connected to a proxy server of the plane: kubectl get kubefedcluster %s -n %s -o wide tells more", o.name, o.name, wellknown.FederationNamespace)
		}
	}
	return nil
}

// kubeconfig writes how to come to the member through the port.
func (o *throughOptions) kubeconfig(access member.Config) (string, error) {
	r := access.REST
	if err := rest.LoadTLSFiles(r); err != nil {
		return "", fmt.Errorf("reading credentials for the member: %w", err)
	}
	user := &clientcmdapi.AuthInfo{
		ClientCertificateData: r.CertData, ClientKeyData: r.KeyData, Token: r.BearerToken, TokenFile: r.BearerTokenFile,
		Username: r.Username, Password: r.Password, Exec: r.ExecProvider,
		Impersonate: r.Impersonate.UserName, ImpersonateUID: r.Impersonate.UID, ImpersonateGroups: r.Impersonate.Groups, ImpersonateUserExtra: r.Impersonate.Extra,
	}
	server := &clientcmdapi.Cluster{Server: r.Host, TLSServerName: r.ServerName, CertificateAuthorityData: r.CAData, InsecureSkipTLSVerify: r.Insecure}
	data, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{o.name: server}, AuthInfos: map[string]*clientcmdapi.AuthInfo{o.name: user},
		Contexts: map[string]*clientcmdapi.Context{o.name: {Cluster: o.name, AuthInfo: o.name}}, CurrentContext: o.name,
	})
	if err != nil {
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	path := cmp.Or(o.write, filepath.Join(os.TempDir(), fmt.Sprintf("cellfed-%s-%s.kubeconfig", o.name, randomWord(8))))
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	_, err = out.Write(data)
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(path)
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return path, nil
}

// execute runs the command with the kubeconfig. Ctrl-C is the command's: the terminal tells it, and it may mean something else
// by that than to end. What only this process is told, it tells the command.
func (o *throughOptions) execute(ctx context.Context, kubeconfig string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if ctx.Err() != nil { // it came before the command
		return ctx.Err()
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), o.command[0], o.command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.streams.In, o.streams.Out, o.streams.ErrOut
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	err := cmd.Start()
	if err == nil {
		ended := make(chan struct{})
		go func() {
			for {
				select {
				case s := <-signals:
					if s != os.Interrupt {
						_ = cmd.Process.Signal(s)
					}
				case <-ended:
					return
				}
			}
		}()
		err = cmd.Wait()
		close(ended)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code := exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal()) // as shells say it
		}
		return &exitError{code: code} // it has said why
	}
	if err != nil {
		return fmt.Errorf("running %s: %w", o.command[0], err)
	}
	return nil
}

// forward carries connections to a port through tunnels to one address in a member.
type forward struct {
	servers         *remote.Servers
	member, address string

	mu   sync.Mutex
	told io.Writer
	last string
}

func (f *forward) serve(ctx context.Context, listener net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		c, err := listener.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil { // of descriptors, for example, there may be more soon
			f.tell(err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		all.Go(func() { f.carry(ctx, c) })
	}
}

func (f *forward) carry(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()
	to, err := f.servers.Dial(ctx, f.member, f.address, hub.Bulk)
	if err != nil {
		f.tell(err)
		return
	}
	defer func() { _ = to.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close(); _ = to.Close() })
	defer stop()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
		go func() {
			bring(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done // TLS says by itself when one side has said all
}

// bring brings what one side says to the other, until it has said all. That the other takes nothing any more is no end: it may
// have something to say itself, which the other direction brings.
func bring(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	taken := true
	for {
		n, err := from.Read(buffer)
		if n > 0 && taken {
			_, writeErr := to.Write(buffer[:n])
			taken = writeErr == nil
		}
		if err != nil {
			return
		}
	}
}

// tell tells why a connection came to nothing, and the same reason once.
func (f *forward) tell(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if words := err.Error(); words != f.last && !errors.Is(err, context.Canceled) {
		f.last = words
		fmt.Fprintln(f.told, "error:", words)
	}
}
