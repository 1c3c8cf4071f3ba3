package memberserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cellfed/cellfed/pkg/storage"
)

// Config says what the member is.
type Config struct {
	// Name is the member's name: its context in the kubeconfig.
	Name string
	// Dir is where everything of the member lives; absolute.
	Dir string
	// Port is where it serves on 127.0.0.1.
	Port int
	// Private is where it serves in place of Port, when something else stands at Port and passes connections on; else 0.
	Private int
	// Nodes is the number of simulated nodes; without any there is no scheduler either.
	Nodes int
	// Audit asks for Dir/audit.log, one line per request.
	Audit bool
	// OnReady is called once, when the API server, the controllers and all nodes are ready.
	OnReady func()
}

func (c Config) path(name string) string { return filepath.Join(c.Dir, name) }

// How long the parts of an ending member may take, each: controllers before the API server, storage last.
const partTimeout = 3 * time.Second

// Run runs the member until ctx ends or a part of it fails, and returns when all parts have ended.
func Run(ctx context.Context, cfg Config) error {
	// First of all, so that a taken port is told before anything is written.
	listenPort := cfg.Port
	if cfg.Private != 0 {
		listenPort = cfg.Private
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(listenPort)))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer func() { _ = listener.Close() }() // The API server has closed it, unless it never ran.
	keys, err := ensurePKI(cfg.path("pki"))
	if err != nil {
		return err
	}
	server := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))
	for _, user := range users() {
		path := cfg.path("kubeconfig")
		if user != userAdmin {
			path = keys.path(fileOf(user) + ".kubeconfig")
		}
		if err := keys.writeKubeconfig(path, cfg.Name, server, user); err != nil {
			return err
		}
	}
	return run(ctx, cfg, keys, listener)
}

// part is one running component.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// start runs f in the background with a life of its own: parts end in order, not all at once when ctx does.
// A part that ends before it was told to reports to failed.
func start(ctx context.Context, failed chan<- error, name string, f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		err := f(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = fmt.Errorf("%s ended by itself", name)
		}
		select {
		case failed <- err:
		default: // Somebody else's failure is being told already.
		}
	}()
	return p
}

func (p *part) stop() {
	p.cancel()
	select {
	case <-p.done:
	case <-time.After(partTimeout):
	}
}

func run(ctx context.Context, cfg Config, keys pki, listener net.Listener) (err error) {
	// synchronous=off: a member of a playground need not survive a power cut, only its own restart.
	sockets := cfg.path("socket")
	if err := os.RemoveAll(sockets); err != nil { // What a killed process left there.
		return fmt.Errorf("removing old sockets: %w", err)
	}
	if err := os.Mkdir(sockets, 0o700); err != nil {
		return fmt.Errorf("making folder for sockets: %w", err)
	}
	endpoint := url.URL{Scheme: "sqlite", Path: cfg.path("state.db"), RawQuery: "synchronous=off"}
	store, err := storage.Start(context.WithoutCancel(ctx), storage.Config{Endpoint: endpoint.String(), SocketDir: sockets})
	if err != nil {
		return fmt.Errorf("starting storage: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), partTimeout)
		defer cancel()
		err = errors.Join(err, store.Close(closing))
	}()

	failed := make(chan error, 1)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	api, err := newAPIServer(life, cfg, keys, listener, store.Endpoints())
	if err != nil {
		return err
	}
	apiPart := start(ctx, failed, "kube-apiserver", api.run)
	defer apiPart.stop()

	client, err := adminClient(cfg)
	if err != nil {
		return err
	}
	if err := wait(ctx, failed, "the API server to be ready", apiReady(client)); err != nil {
		return err
	}
	var controllerParts []*part
	defer func() {
		for _, p := range controllerParts {
			p.cancel() // All at once, then one by one.
		}
		for _, p := range controllerParts {
			p.stop()
		}
	}()
	controllerParts = append(controllerParts, start(ctx, failed, "kube-controller-manager", func(ctx context.Context) error {
		return runControllerManager(ctx, keys.path("kube-controller-manager.kubeconfig"), keys)
	}))
	if cfg.Nodes > 0 {
		controllerParts = append(controllerParts, start(ctx, failed, "kube-scheduler", func(ctx context.Context) error {
			return runScheduler(ctx, keys.path("kube-scheduler.kubeconfig"))
		}), start(ctx, failed, "nodes", func(ctx context.Context) error {
			if err := startNodes(ctx, keys.path("playground-nodes.kubeconfig"), cfg.Nodes); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}))
	}
	if err := wait(ctx, failed, "controllers and nodes", workloadsReady(client, cfg.Nodes)); err != nil {
		return err
	}
	cfg.OnReady()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	case <-store.Done():
		return fmt.Errorf("storage failed: %w", store.Err())
	}
}

func adminClient(cfg Config) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", cfg.path("kubeconfig"))
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig: %w", err)
	}
	config.UserAgent = "cellfed-playground"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making client: %w", err)
	}
	return client, nil
}

// wait asks again and again until ready says nil; a part that fails, or the end of ctx, ends the waiting.
func wait(ctx context.Context, failed <-chan error, what string, ready func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, ctx.Err(), last)
		case err := <-failed:
			return err
		case <-tick.C:
		}
	}
}

func apiReady(client kubernetes.Interface) func(context.Context) error {
	return func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}
}

// workloadsReady holds when a pod can be created and runs: controllers have made the default service account,
// and all nodes say they are ready.
func workloadsReady(client kubernetes.Interface, nodes int) func(context.Context) error {
	return func(ctx context.Context) error {
		if _, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		if nodes == 0 {
			return nil
		}
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, node := range list.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready < nodes {
			return fmt.Errorf("%d of %d nodes ready", ready, nodes)
		}
		return nil
	}
}
