package memberserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/errors"
	apiversion "k8s.io/apimachinery/pkg/version"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// shutdownTimeout bounds how long an ending API server waits for its clients: a stopped member is meant to be
// gone.
const shutdownTimeout = time.Second

// auditPolicy logs who asked for what, once per request and without bodies: what a test needs to count the
// requests that reached a member.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// apiServer is an assembled kube-apiserver, not yet serving.
type apiServer struct {
	run func(context.Context) error
}

// newAPIServer assembles a kube-apiserver on listener over the given storage.
func newAPIServer(ctx context.Context, cfg Config, keys pki, listener net.Listener, storage []string) (*apiServer, error) {
	opts := options.NewServerRunOptions()
	args, err := apiServerFlags(cfg, keys, listener, storage)
	if err != nil {
		return nil, err
	}
	sets := opts.Flags()
	if err := parse("kube-apiserver", &sets, args...); err != nil {
		return nil, err
	}
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("setting features of kube-apiserver: %w", err)
	}
	opts.SecureServing.Listener = listener

	completed, err := opts.Complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("completing options of kube-apiserver: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("checking options of kube-apiserver: %w", errors.NewAggregate(errs))
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, fmt.Errorf("configuring kube-apiserver: %w", err)
	}
	version := released{EffectiveVersion: config.KubeAPIs.ControlPlane.Generic.EffectiveVersion, release: kubernetesRelease()}
	config.KubeAPIs.ControlPlane.Generic.EffectiveVersion = version
	config.ApiExtensions.GenericConfig.EffectiveVersion = version
	config.Aggregator.GenericConfig.EffectiveVersion = version

	complete, err := config.Complete()
	if err != nil {
		return nil, fmt.Errorf("completing kube-apiserver: %w", err)
	}
	server, err := app.CreateServerChain(complete)
	if err != nil {
		return nil, fmt.Errorf("assembling kube-apiserver: %w", err)
	}
	server.GenericAPIServer.ShutdownTimeout = shutdownTimeout
	prepared, err := server.PrepareRun()
	if err != nil {
		return nil, fmt.Errorf("preparing kube-apiserver: %w", err)
	}
	return &apiServer{run: prepared.Run}, nil
}

// apiServerFlags is the command line of the member's kube-apiserver.
func apiServerFlags(cfg Config, keys pki, listener net.Listener, storage []string) ([]string, error) {
	port := listener.Addr().(*net.TCPAddr).Port
	args := []string{
		"--bind-address=127.0.0.1",
		// Otherwise it looks for the machine's default route, which a network of a member's own does not have.
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--etcd-servers=" + strings.Join(storage, ","),
		"--tls-cert-file=" + keys.servingCert(),
		"--tls-private-key-file=" + keys.servingKey(),
		"--client-ca-file=" + keys.caCert(),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + keys.accountKey(),
		"--service-account-signing-key-file=" + keys.accountKey(),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		// Endpoints must not be loopback addresses, and nothing in a member dials its API server as a pod.
		"--endpoint-reconciler-type=none",
		// A test machine is slow in bursts; fair queueing would turn that into 429s, and its start-up
		// writes some forty objects.
		"--enable-priority-and-fairness=false",
		// Storage compacts and measures itself.
		"--etcd-compaction-interval=0",
		"--etcd-db-metric-poll-interval=0",
		"--profiling=false",
		// The taint this sets is removed by the node lifecycle controller and the finalizers by the volume
		// controllers, which do not run.
		"--disable-admission-plugins=TaintNodesByCondition,StorageObjectInUseProtection",
	}
	if !cfg.Audit {
		return args, nil
	}
	policy := cfg.path("audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("writing audit policy: %w", err)
	}
	return append(args,
		"--audit-policy-file="+policy,
		"--audit-log-path="+cfg.path("audit.log"),
		// Blocking: when a client has its answer, its line is in the file.
		"--audit-log-mode=blocking",
	), nil
}

// released answers /version with the Kubernetes release this binary was built from. The components read
// theirs from linker flags, and without them call themselves v0.0.0-master.
type released struct {
	basecompatibility.EffectiveVersion
	release string
}

// Info implements basecompatibility.EffectiveVersion.
func (r released) Info() *apiversion.Info {
	info := r.EffectiveVersion.Info()
	if info != nil && r.release != "" && strings.HasPrefix(info.GitVersion, "v0.0.0-") {
		info.GitVersion = r.release
		info.GitCommit = ""
	}
	return info
}

// kubernetesRelease is the version of the k8s.io/kubernetes module in this binary, empty when unknown.
func kubernetesRelease() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range build.Deps {
		if module.Path == "k8s.io/kubernetes" {
			return module.Version
		}
	}
	return ""
}
