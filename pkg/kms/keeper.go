package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/klog/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

const (
	// watchPeriod is how often a plugin that is well is asked, and retryPeriod how often one that is not.
	watchPeriod = 2 * time.Second
	retryPeriod = 250 * time.Millisecond
	// coast is for how long the library encrypts with a data key after it was last told that its plugin is well.
	coast = 3 * time.Minute
	// checkName is what the API server's library calls its own check of all plugins.
	checkName = "kms-providers"
)

// Keeper watches over the plugins of one API server.
type Keeper struct {
	logger klog.Logger

	mu      sync.Mutex
	plugins []*plugin
	// prime is the library's own check. It makes the library ask for the status of plugins, and renew its data keys.
	prime healthz.HealthChecker
}

// NewKeeper makes a keeper that tells what happens to plugins in a log.
func NewKeeper(logger klog.Logger) *Keeper { return &Keeper{logger: logger} }

// Service connects to a plugin. It has the form of the API server's factory of such services.
func (k *Keeper) Service(ctx context.Context, endpoint, name string, timeout time.Duration) (kmsservice.Service, error) {
	c, err := newClient(name, endpoint, timeout)
	if err != nil {
		return nil, err
	}
	p := &plugin{client: c, logger: k.logger.WithValues("kms", name, "endpoint", endpoint), asked: make(chan struct{}, 1)}
	k.mu.Lock()
	k.plugins = append(k.plugins, p)
	k.mu.Unlock()
	p.look(ctx)
	go p.watch(ctx)
	go func() {
		<-ctx.Done()
		c.close()
	}()
	return p, nil
}

// Checks are an API server's checks with the keeper's in the place of the library's: that one waits while a plugin does not
// answer, and remembers for three seconds what it was told.
func (k *Keeper) Checks(checks []healthz.HealthChecker) []healthz.HealthChecker {
	checks = slices.Clone(checks)
	for i, c := range checks {
		if c.Name() != checkName {
			continue
		}
		k.mu.Lock()
		k.prime = c
		k.mu.Unlock()
		checks[i] = k
	}
	return checks
}

// Name implements healthz.HealthChecker.
func (k *Keeper) Name() string { return checkName }

// Check implements healthz.HealthChecker. It asks every plugin anew.
func (k *Keeper) Check(r *http.Request) error {
	k.mu.Lock()
	plugins := slices.Clone(k.plugins)
	k.mu.Unlock()
	errs := make([]error, len(plugins))
	var group sync.WaitGroup
	for i, p := range plugins {
		group.Go(func() {
			p.look(r.Context())
			errs[i] = p.ready()
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// Ready tells which plugin was not well when it was last asked, or has no key that the library can use.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, p := range k.plugins {
		errs = append(errs, p.ready())
	}
	return errors.Join(errs...)
}

// Await waits until all plugins are ready, or ctx ends.
func (k *Keeper) Await(ctx context.Context) error {
	for k.Ready() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPeriod):
		}
	}
	return nil
}

// Run has the library ask again for plugins that it has no valid key of, until ctx ends. Without this it would learn of a
// plugin that is back within ten seconds, and of a new key within a minute.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(2 * retryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		k.mu.Lock()
		prime, plugins := k.prime, slices.Clone(k.plugins)
		k.mu.Unlock()
		if prime == nil || !slices.ContainsFunc(plugins, (*plugin).unsettled) {
			continue
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		if err != nil {
			return // only an unreadable URL or method is an error
		}
		err = prime.Check(r)
		for _, p := range plugins {
			p.settle(err)
		}
	}
}

// plugin is one plugin as the library sees it.
type plugin struct {
	client *client
	logger klog.Logger
	// asked lets one question be under way at a time.
	asked chan struct{}

	mu sync.Mutex
	// failure is why the plugin was not well when it was last asked, and since when.
	failure error
	since   time.Time
	// current is the key that the plugin says it uses, used the one that it last encrypted a data key with.
	current, used string
	// keyFailure is why the library has no data key of the current key.
	keyFailure error
	// met is set once the library has asked for the status, and well is when it was last told that all is well.
	met  bool
	well time.Time
}

var _ kmsservice.Service = (*plugin)(nil)

// Status implements the library's service. The first call, at the start, tells at once what there is to tell. Later ones wait
// for a plugin that is not well: whoever called has nothing else to do, and goes on in the moment in which it is.
func (p *plugin) Status(ctx context.Context) (*kmsservice.StatusResponse, error) {
	p.mu.Lock()
	first := !p.met
	p.met = true
	p.mu.Unlock()
	for {
		r, err := p.ask(ctx)
		if err == nil {
			p.mu.Lock()
			p.well = time.Now()
			p.mu.Unlock()
		}
		if err == nil || first || ctx.Err() != nil {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retryPeriod):
		}
	}
}

// Encrypt implements the library's service.
func (p *plugin) Encrypt(ctx context.Context, uid string, plain []byte) (*kmsservice.EncryptResponse, error) {
	r, err := p.client.encrypt(ctx, uid, plain)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.used = r.KeyID
	p.tell()
	p.mu.Unlock()
	return r, nil
}

// Decrypt implements the library's service.
func (p *plugin) Decrypt(ctx context.Context, uid string, req *kmsservice.DecryptRequest) ([]byte, error) {
	return p.client.decrypt(ctx, uid, req)
}

// ask asks for the status and notes the answer.
func (p *plugin) ask(ctx context.Context) (*kmsservice.StatusResponse, error) {
	r, err := p.client.status(ctx)
	if err == nil && r.Healthz != "ok" {
		err = p.client.failed("answering for its health", fmt.Errorf("it says %q", r.Healthz))
	}
	if ctx.Err() != nil {
		return r, err // whoever asked has gone, which says nothing of the plugin
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil && p.failure == nil:
		p.since = time.Now()
		p.logger.Error(err, "The KMS plugin is not well: what it encrypted and this plane did not read yet cannot be read, and nothing new is encrypted for longer than 3 minutes. Start or mend it; the plane goes on by itself")
	case err == nil && p.failure != nil:
		p.logger.Info("The KMS plugin is well again", "after", time.Since(p.since).Round(time.Millisecond))
	}
	p.failure = err
	if err == nil {
		p.current = r.KeyID
	}
	p.tell()
	return r, err
}

// look asks now, unless a question is under way: then it waits for that one.
func (p *plugin) look(ctx context.Context) {
	select {
	case p.asked <- struct{}{}:
		_, _ = p.ask(ctx) // what it says is noted
		<-p.asked
	case <-ctx.Done():
	}
}

// watch asks again and again.
func (p *plugin) watch(ctx context.Context) {
	for {
		p.mu.Lock()
		period := watchPeriod
		if p.failure != nil {
			period = retryPeriod
		}
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(period):
			p.look(ctx)
		}
	}
}

// unsettled tells whether the library has no data key of the plugin's current key, or has to notice that the plugin is away.
func (p *plugin) unsettled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure != nil || p.used == "" || p.used != p.current || p.expired(time.Now())
}

// expired tells, with mu held, whether the library encrypts nothing more.
func (p *plugin) expired(now time.Time) bool { return now.Sub(p.well) > coast }

func (p *plugin) settle(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keyFailure = nil
	if p.failure == nil && p.used != p.current {
		p.keyFailure = err
	}
}

// ready tells why the plane is not to be relied on for this plugin's secrets.
func (p *plugin) ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failure != nil:
		return fmt.Errorf("KMS %s: for %s: %w", p.client.name, time.Since(p.since).Round(time.Second), p.failure)
	case p.keyFailure != nil:
		return fmt.Errorf("KMS %s: %w", p.client.name, p.keyFailure)
	case p.used == "":
		return fmt.Errorf("KMS %s: no data key yet", p.client.name)
	case p.expired(time.Now()):
		return fmt.Errorf("KMS %s: the data key has expired", p.client.name)
	}
	return nil
}
