package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"

	_ "github.com/cellfed/cellfed/pkg/apiserver/etcdlog" // see its comment
	"github.com/cellfed/cellfed/pkg/host"
	"github.com/cellfed/cellfed/pkg/kms"
	"github.com/cellfed/cellfed/pkg/storage"
	"github.com/cellfed/cellfed/pkg/storage/transfer"
)

// How long each stage of an orderly end may take; the sum stays below the five
// seconds that a plane promises. What has not ended by then is left to the end of
// the process: nothing acknowledged is at stake.
const (
	partsGrace   = time.Second
	serverGrace  = 2500 * time.Millisecond
	storageGrace = time.Second
)

// Run runs a plane until ctx ends or the plane fails. It returns nil after an
// orderly end.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	err := run(ctx, cfg)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to end while it still started
	}
	return err
}

func run(ctx context.Context, cfg Config) (err error) {
	dir, err := host.OpenDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	// Keys come before the store: an old database without its key is refused.
	ips, names := host.Addresses(cfg.BindAddress)
	keys, err := dir.Keys(time.Now(), ips, names)
	if err != nil {
		return err
	}
	if err := dir.EncryptWith(cfg.KMS); err != nil {
		return err
	}
	endpoint := cfg.Storage
	if endpoint == "" {
		endpoint = "sqlite://" + dir.Database()
	}
	sockets, err := dir.Sockets()
	if err != nil {
		return err
	}
	store, err := storage.Open(ctx, storage.Config{Endpoint: endpoint, SocketDir: sockets, MarkFile: dir.StorageMark()})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageGrace)
		defer cancel()
		err = errors.Join(err, store.Close(closing))
	}()
	if err := transfer.RefuseUnfinished(ctx, store.Transport()); err != nil {
		return fmt.Errorf("looking at the database: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(cfg.BindAddress.String(), strconv.Itoa(cfg.SecurePort)))
	if err != nil {
		return fmt.Errorf("opening the secure port: %w", err)
	}
	defer func() { _ = listener.Close() }() // closed already when the server has run

	if err := switchFeatures(); err != nil {
		return fmt.Errorf("setting feature gates: %w", err)
	}
	fingerprints, err := keys.Fingerprints()
	if err != nil {
		return err
	}
	plugins := kms.NewKeeper(klog.FromContext(ctx))
	server, loopback, err := newServer(upstream(ctx), cfg, place{listener, keys, fingerprints, store.Transport(), plugins})
	if err != nil {
		return err
	}
	server.GenericAPIServer.Handler.NonGoRestfulMux.HandleFunc("/readyz/storage-compaction", tellCompaction(store))
	port := listener.Addr().(*net.TCPAddr).Port
	url := "https://" + net.JoinHostPort(host.DialHost(cfg.BindAddress), strconv.Itoa(port))
	if err := dir.WriteKubeconfig(url, keys); err != nil {
		return err
	}
	renewals := &renewer{dir: dir, url: url, ips: ips, names: names}
	klog.FromContext(ctx).Info("Starting", "dataDir", dir.Path(), "address", url, "kubeconfig", dir.Kubeconfig())
	identity, err := dir.Identity()
	if err != nil {
		return err
	}
	p := &plane{
		cfg: cfg, identity: identity, fingerprints: fingerprints, server: server, loopback: loopback, store: store, renewals: renewals,
		plugins: plugins,
		ready:   &readiness{}, failed: make(chan error, 1),
	}
	return p.run(ctx)
}

// upstream is ctx for the code of others, whose lines are not CellFed's own.
func upstream(ctx context.Context) context.Context {
	return klog.NewContext(ctx, klog.Background())
}

// plane is an API server with the work that goes on beside it.
type plane struct {
	cfg      Config
	identity string
	// fingerprints are of the keys that this server serves with.
	fingerprints map[string]string
	server       *aggregatorapiserver.APIAggregator
	loopback     *rest.Config
	store        storage.Store
	renewals     *renewer
	plugins      *kms.Keeper
	ready        *readiness
	// failed gets the first reason why the plane cannot go on.
	failed chan error
}

// fail ends the plane. One reason is enough.
func (p *plane) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// survive keeps the API server's libraries from ending the process, which they do
// when a start hook fails, and a hook fails when the plane is told to end while
// it starts. The goroutine that gave up ends, and the plane does in order.
func (p *plane) survive() {
	klog.OsExit = func(int) {
		p.fail(errors.New("the API server gave up; the log tells why"))
		runtime.Goexit()
	}
}

func (p *plane) run(ctx context.Context) error {
	serving := make(chan struct{})
	err := p.server.GenericAPIServer.AddPostStartHook("cellfed", func(genericapiserver.PostStartHookContext) error {
		close(serving)
		return nil
	})
	if err != nil {
		return fmt.Errorf("making the API server: %w", err)
	}
	if err := p.server.GenericAPIServer.AddReadyzChecks(p.ready); err != nil {
		return fmt.Errorf("making the API server: %w", err)
	}
	prepared, err := p.server.PrepareRun()
	if err != nil {
		return fmt.Errorf("preparing the API server: %w", err)
	}
	serverCtx, stopServer := context.WithCancel(context.WithoutCancel(upstream(ctx)))
	defer stopServer()
	stopped := make(chan error, 1)
	p.survive()
	go func() { stopped <- prepared.Run(serverCtx) }()

	var workErr, stopErr error
	select {
	case <-serving:
		workErr, stopErr = p.work(ctx, stopped)
	case <-ctx.Done():
	case workErr = <-p.failed:
	case err := <-stopped:
		stopErr = errors.Join(errors.New("the API server ended at its start"), err)
	}
	logger := klog.FromContext(ctx)
	if ctx.Err() != nil {
		logger.Info("Stopping")
		workErr = nil // whatever fails now fails because everything ends
	}
	if stopErr == nil {
		stopServer()
		select {
		case stopErr = <-stopped:
		case <-time.After(serverGrace):
			logger.Info("Some requests did not end in time and were dropped", "grace", serverGrace)
		}
	}
	return errors.Join(workErr, stopErr)
}

// work bootstraps the plane and runs its parts until ctx ends, one of them or
// the store fails, or the API server stops, which is the second error.
func (p *plane) work(ctx context.Context, stopped <-chan error) (workErr, stopErr error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { p.plugins.Run(ctx) })
	group.Go(func() {
		if err := p.start(ctx, &group); err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	})
	select {
	case <-ctx.Done():
	case workErr = <-p.failed:
	case <-p.store.Done():
		workErr = fmt.Errorf("storing: %w", p.store.Err())
	case err := <-stopped:
		stopErr = errors.Join(errors.New("the API server ended by itself"), err)
	}
	cancel()
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(partsGrace):
		klog.FromContext(ctx).V(1).Info("Some parts did not end in time", "grace", partsGrace)
	}
	return workErr, stopErr
}

// start bootstraps, starts the parts, and tells when the plane is ready.
func (p *plane) start(ctx context.Context, group *sync.WaitGroup) error {
	begun := time.Now()
	if p.plugins.Await(ctx) != nil {
		return nil // told to end meanwhile
	}
	if err := bootstrap(ctx, p.cfg, p.loopback, p.fingerprints); err != nil {
		return fmt.Errorf("bootstrapping: %w", err)
	}
	parts := p.cfg.Parts
	if p.cfg.Candidate != nil {
		parts = append(parts[:len(parts):len(parts)], Part{Name: "controllers", Run: func(ctx context.Context, loopback *rest.Config) error {
			return p.cfg.Candidate(ctx, loopback, p.identity)
		}})
	}
	for _, part := range parts {
		group.Go(func() {
			if err := part.Run(ctx, rest.CopyConfig(p.loopback)); err != nil && ctx.Err() == nil {
				p.fail(fmt.Errorf("running %s: %w", part.Name, err))
			}
		})
	}
	group.Go(func() { p.renewals.run(ctx) })
	p.ready.done.Store(true)
	if err := waitUntilReady(ctx, p.loopback); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Ready", "bootstrap", time.Since(begun).Round(time.Millisecond))
	return nil
}

// waitUntilReady waits until the plane calls itself ready, so that the line in
// the log is as true as the endpoint.
func waitUntilReady(ctx context.Context, loopback *rest.Config) error {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	for {
		err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}
