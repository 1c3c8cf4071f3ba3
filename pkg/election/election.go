package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Options say what is to be won and how.
type Options struct {
	// Identity is the name of this server: never that of two servers at a time.
	Identity string
	// Namespace and Name are of the Lease.
	Namespace, Name string
	// LeaseDuration is how long others wait for a leader that is not heard of, RenewDeadline how long a leader that
	// cannot renew its lease goes on, and RetryPeriod the pause between two attempts.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// Grace is how long the lease is kept, at an orderly end, for what was led to end (default 700 ms). What has not
	// ended by then is kept from writing.
	Grace time.Duration
	// Observe is told when this server begins to lead and when it ends (default: nobody is).
	Observe func(leading bool)
}

// Lead is the work of a leader. It ends with ctx, and writes through the fence only; the configuration does so already.
type Lead func(ctx context.Context, config *rest.Config, fence *Fence) error

// Run takes part in the election until ctx ends, and leads whenever it is elected. A lease that is lost ends the term,
// and a new candidacy begins when the work has ended. It returns an error only if the work fails by itself.
func Run(ctx context.Context, config *rest.Config, opts Options, lead Lead) error {
	if opts.Grace == 0 {
		opts.Grace = 700 * time.Millisecond
	}
	if opts.Observe == nil {
		opts.Observe = func(bool) {}
	}
	for ctx.Err() == nil {
		if err := term(ctx, config, opts, lead); err != nil {
			return err
		}
	}
	return nil
}

// term waits for the lease and leads until it is lost or ctx ends.
func term(ctx context.Context, config *rest.Config, opts Options, lead Lead) error {
	lease, err := opts.lease(config)
	if err != nil {
		return err
	}
	// The lease outlives the work, so the elector's context is not the work's. Its talk is not ours.
	electing, stop := context.WithCancel(logr.NewContext(context.WithoutCancel(ctx), logr.Discard()))
	defer stop()
	elected, ended := make(chan struct{}), make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lease, Name: opts.Name, ReleaseOnCancel: true,
		LeaseDuration: opts.LeaseDuration, RenewDeadline: opts.RenewDeadline, RetryPeriod: opts.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(elected) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("making the election: %w", err)
	}
	go func() {
		elector.Run(electing)
		close(ended)
	}()
	waiting, seen := context.WithCancel(electing)
	defer seen()
	select {
	case <-elected:
		seen()
	case <-vacancy(waiting, opts, lease.client):
		// The elector would look only after its pause; a new one looks at once.
		stop()
		<-ended
		return nil
	case <-ctx.Done():
		stop()
		<-ended
		return nil
	}
	err = leadUntilLost(ctx, config, opts, lead, lease, ended)
	lease.fence.end()
	stop()
	<-ended // the lease is given back
	return err
}

// leadUntilLost does the work of one term.
func leadUntilLost(ctx context.Context, config *rest.Config, opts Options, lead Lead, lease *lock, ended <-chan struct{}) error {
	logger := klog.FromContext(ctx)
	logger.Info("Leading", "lease", opts.Namespace+"/"+opts.Name, "identity", opts.Identity)
	opts.Observe(true)
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- lead(working, lease.fence.Guard(config), lease.fence) }()
	select {
	case err := <-result:
		opts.Observe(false)
		if lost := lease.fence.Check(); lost != nil || ctx.Err() != nil {
			return nil // what was kept from writing may give up before the election does
		}
		if err == nil {
			err = errors.New("the work of the leader has ended by itself")
		}
		return err
	case <-ctx.Done():
		opts.Observe(false)
		cancel()
		select {
		case <-result: // whatever fails now fails because everything ends
		case <-time.After(opts.Grace):
		}
		return nil
	case <-ended:
	case <-lease.lost:
	}
	lease.fence.end()
	opts.Observe(false)
	logger.Info("Not leading any more: the lease was lost", "reason", lease.reason())
	cancel()
	// Two terms of one process would do the work side by side.
	select {
	case <-result:
	case <-ctx.Done():
	}
	return nil
}

// lease is the lock of a new term.
func (o Options) lease(config *rest.Config) (*lock, error) {
	config = rest.CopyConfig(config)
	// One attempt that hangs must leave time for another one.
	config.Timeout = o.RenewDeadline / 2
	client, err := coordinationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	l := newLock(&resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.Identity},
	}, o.RenewDeadline)
	// A watch lasts.
	config.Timeout = 0
	if l.client, err = coordinationclient.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return l, nil
}
