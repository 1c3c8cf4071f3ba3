package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc/grpclog"

	"github.com/cellfed/cellfed/pkg/version"
	"github.com/cellfed/cellfed/proxy/agent"
	"github.com/cellfed/cellfed/proxy/credential"
	"github.com/cellfed/cellfed/proxy/identity"
)

const usage = `Hold tunnels open from a member to a plane that cannot reach it.

The agent dials out to the plane's proxy servers, and connects what comes through the tunnels to the member's API server
and to nothing else. It shows a certificate that names the member. It gets that from the plane, with a bootstrap token
that kubectl cellfed join --tunnel makes, and renews it by itself; or it reads one from files.

Usage:
  cellfed-agent --server HOST:PORT... --cluster NAME --enrolment NAME --plane URL --ca-file FILE --bootstrap-token-file FILE --state-dir DIR
  cellfed-agent --server HOST:PORT... --ca-file FILE --client-certificate FILE --client-key FILE

Examples:
  # As kubectl cellfed join --tunnel installs it, with its key and certificate in a Secret that outlives the Pod
  cellfed-agent --server proxy.example:8443 --cluster hz-1 --enrolment k3v9x2m8q1 --plane https://plane.example:6443 \
    --ca-file /etc/cellfed-agent/ca.crt --bootstrap-token-file /etc/cellfed-agent/token --state-secret cellfed-agent/cellfed-agent-state

  # On a machine, with a certificate that somebody else renews, for a member that is known by an address
  cellfed-agent --server proxy-1.example:8443 --server proxy-2.example:8443 --ca-file ca.crt \
    --client-certificate agent.crt --client-key agent.key --allow 10.0.0.1:6443

Flags:
`

// flags are what the command line says.
type flags struct {
	servers, allow                    []string
	caFile, serverCAFile, serverName  string
	plane, tokenFile                  string
	stateDir, stateSecret             string
	cluster, enrolment                string
	certificate, key                  string
	memberEndpoint                    string
	deliverToken, deliverCA, deliverS string
	metrics, logFormat                string
	drain, duration, keepalive, reply time.Duration
	version                           bool
}

func (f *flags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.servers, "server", nil, "a proxy server of the plane, host:port; may be given several times, and each is kept connected")
	fs.StringVar(&f.caFile, "ca-file", "", "certificates of whom to trust, at the plane and at the proxy servers")
	fs.StringVar(&f.serverCAFile, "server-ca-file", "", "certificates of whom to trust at the proxy servers, when it is another authority")
	fs.StringVar(&f.serverName, "server-name", "", "name in the proxy servers' certificates (default: the host of --server)")
	fs.StringArrayVar(&f.allow, "allow", nil, "an address, as seen from here, that the plane may reach, host:port; may be given several times (default: what --member-endpoint says, or "+agent.DefaultAllow+")")
	fs.StringVar(&f.memberEndpoint, "member-endpoint", "", "URL of the member's API server as seen from here; its host and port are allowed")
	fs.StringVar(&f.cluster, "cluster", "", "name of the member's KubeFedCluster")
	fs.StringVar(&f.enrolment, "enrolment", "", "name of the enrolment that kubectl cellfed join --tunnel made")
	fs.StringVar(&f.plane, "plane", "", "URL of the plane's API server, which certificates are got from")
	fs.StringVar(&f.tokenFile, "bootstrap-token-file", "", "file with the bootstrap token for the first certificate")
	fs.StringVar(&f.stateDir, "state-dir", "", "directory for the key and the certificate; it has to outlive the process, because a token is good for one key")
	fs.StringVar(&f.stateSecret, "state-secret", "", "NAMESPACE/NAME of a Secret of the cluster that the agent runs in, in place of --state-dir; it has to be there")
	fs.DurationVar(&f.duration, "certificate-duration", 0, "how long certificates shall last, 10m to 720h (default: as the plane has it)")
	fs.StringVar(&f.certificate, "client-certificate", "", "file with a certificate that somebody else renews, in place of all about the plane")
	fs.StringVar(&f.key, "client-key", "", "file with its key")
	fs.StringVar(&f.deliverS, "deliver-secret", "", "NAMESPACE/NAME of a Secret at the plane to keep equal to --deliver-token-file")
	fs.StringVar(&f.deliverToken, "deliver-token-file", "", "file with the token that the plane comes with, for the key token of --deliver-secret")
	fs.StringVar(&f.deliverCA, "deliver-ca-file", "", "file with the certificates of the member's API server, for the key ca.crt of --deliver-secret")
	fs.StringVar(&f.metrics, "metrics-address", "127.0.0.1:8092", "where to serve /healthz, /readyz and /metrics; empty serves them nowhere")
	fs.DurationVar(&f.drain, "drain", 10*time.Second, "how long connections may go on when the agent is told to end")
	fs.DurationVar(&f.keepalive, "keepalive-time", 10*time.Second, "how long a server may be silent before it is asked; less than 10s is 10s")
	fs.DurationVar(&f.reply, "keepalive-timeout", 5*time.Second, "how long a server then has to answer")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fs.BoolVar(&f.version, "version", false, "print the version")
}

// memoryLimit has the collector work harder before the process takes more than a small container has. It is a wish, and
// GOMEMLIMIT says otherwise.
const memoryLimit = 96 << 20

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	f := &flags{}
	fs := pflag.NewFlagSet("cellfed-agent", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(out)
	fs.Usage = func() { _, _ = fmt.Fprint(out, usage+fs.FlagUsages()) }
	f.add(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if f.version {
		_, err := fmt.Fprintln(out, "cellfed-agent "+version.String())
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q is not understood: see --help", fs.Arg(0))
	}
	if debug.SetMemoryLimit(-1) == 1<<63-1 {
		debug.SetMemoryLimit(memoryLimit)
	}
	// What it has to say comes back as errors, which are told once and in one form.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	logger, err := f.logger(errOut)
	if err != nil {
		return err
	}
	p, err := f.parts(logger)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

func (f *flags) logger(w io.Writer) (*slog.Logger, error) {
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", f.logFormat)
}

// source is a certificate that is kept good while it is run.
type source interface {
	agent.Credentials
	Run(ctx context.Context)
}

// parts are what runs.
type parts struct {
	logger    *slog.Logger
	source    source
	deliverer *credential.Deliverer
	agent     *agent.Agent
	metrics   string
}

func userAgent() string { return "cellfed-agent/" + version.String() }

func (f *flags) parts(logger *slog.Logger) (*parts, error) {
	if len(f.servers) == 0 {
		return nil, errors.New("no proxy server is given: say --server host:port")
	}
	if f.caFile == "" && (f.serverCAFile == "" || f.certificate == "") {
		return nil, errors.New("it is not said whom to trust: say --ca-file")
	}
	p := &parts{logger: logger, metrics: f.metrics}
	var err error
	if p.source, err = f.source(logger); err != nil {
		return nil, err
	}
	if p.deliverer, err = f.deliverer(p.source, logger); err != nil {
		return nil, err
	}
	allow, err := f.allowed()
	if err != nil {
		return nil, err
	}
	serverCA := f.serverCAFile
	if serverCA == "" {
		serverCA = f.caFile
	}
	p.agent, err = agent.New(agent.Options{
		Servers: f.servers, Credentials: p.source, ServerCA: credential.ReadCA(serverCA), ServerName: f.serverName, Allow: allow,
		UserAgent: userAgent(), Logger: logger, Drain: f.drain, KeepaliveTime: f.keepalive, KeepaliveTimeout: f.reply,
	})
	return p, err
}

func (f *flags) source(logger *slog.Logger) (source, error) {
	if f.certificate != "" || f.key != "" {
		if f.certificate == "" || f.key == "" {
			return nil, errors.New("--client-certificate and --client-key go together")
		}
		if f.tokenFile != "" || f.stateDir != "" || f.stateSecret != "" {
			return nil, errors.New("with --client-certificate somebody else renews the certificate: leave out --bootstrap-token-file, --state-dir and --state-secret")
		}
		return credential.NewFiles(f.certificate, f.key, logger)
	}
	for name, value := range map[string]string{"--plane": f.plane, "--cluster": f.cluster, "--enrolment": f.enrolment} {
		if value == "" {
			return nil, fmt.Errorf("%s is missing: it is needed to get a certificate (or say --client-certificate and --client-key)", name)
		}
	}
	if (f.stateDir == "") == (f.stateSecret == "") {
		return nil, errors.New("say one of --state-dir and --state-secret: where to keep the key and the certificate")
	}
	var store credential.Store = credential.Dir(f.stateDir)
	if f.stateSecret != "" {
		inCluster, err := credential.InCluster(f.stateSecret, userAgent())
		if err != nil {
			return nil, err
		}
		store = inCluster
	}
	return credential.NewEnroller(credential.Enrolling{
		Plane: f.plane, CA: credential.ReadCA(f.caFile), TokenFile: f.tokenFile, Store: store, Duration: f.duration, UserAgent: userAgent(), Logger: logger,
		Identity: identity.Identity{Cluster: f.cluster, Enrolment: f.enrolment},
	})
}

func (f *flags) deliverer(s source, logger *slog.Logger) (*credential.Deliverer, error) {
	if f.deliverS == "" {
		if f.deliverToken != "" || f.deliverCA != "" {
			return nil, errors.New("--deliver-secret is missing: where to bring what --deliver-token-file names")
		}
		return nil, nil
	}
	namespace, name, err := credential.SplitReference(f.deliverS)
	if err != nil {
		return nil, fmt.Errorf("--deliver-secret: %w", err)
	}
	if f.plane == "" || f.deliverToken == "" {
		return nil, errors.New("--deliver-secret needs --plane and --deliver-token-file")
	}
	return credential.NewDeliverer(credential.Delivery{
		Plane: f.plane, CA: credential.ReadCA(f.caFile), Current: s.Current, Namespace: namespace, Name: name,
		TokenFile: f.deliverToken, CAFile: f.deliverCA, UserAgent: userAgent(), Logger: logger,
	}), nil
}

// allowed are the addresses that the plane may reach.
func (f *flags) allowed() ([]string, error) {
	if f.memberEndpoint == "" {
		return f.allow, nil
	}
	u, err := url.Parse(f.memberEndpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("--member-endpoint %q is not a URL with https://", f.memberEndpoint)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return append(f.allow, net.JoinHostPort(u.Hostname(), port)), nil
}

// run runs all parts until ctx ends.
func (p *parts) run(ctx context.Context) error {
	// What is needed to the end, the certificate for example, outlives the connections.
	beside, done := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer done()
	if p.metrics != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.metrics)
		if err != nil {
			return fmt.Errorf("serving health and metrics: %w", err)
		}
		web := &http.Server{Handler: p.agent.Handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
		group.Go(func() { _ = web.Serve(l) }) // it ends by Close
		context.AfterFunc(beside, func() { _ = web.Close() })
		p.logger.Info("Starting", "version", version.String(), "health", l.Addr().String())
	} else {
		p.logger.Info("Starting", "version", version.String())
	}
	group.Go(func() { p.source.Run(beside) })
	if p.deliverer != nil {
		group.Go(func() { p.deliverer.Run(beside) })
	}
	p.agent.Run(ctx)
	p.logger.Info("Ended")
	return nil
}
