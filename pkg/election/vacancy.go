package election

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// vacancy is closed when a leader gives the lease back while this server waits for it, so that an orderly end of the one
// is a matter of milliseconds to the other. A leader that is killed gives nothing back: for that there is the elector.
func vacancy(ctx context.Context, opts Options, leases coordinationclient.LeasesGetter) <-chan struct{} {
	vacant := make(chan struct{})
	go func() {
		for ctx.Err() == nil {
			if watchLease(ctx, opts, leases) {
				close(vacant)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(opts.RetryPeriod):
			}
		}
	}()
	return vacant
}

// watchLease watches the lease until the watch ends, or becomes true when the lease has been given back.
func watchLease(ctx context.Context, opts Options, leases coordinationclient.LeasesGetter) bool {
	w, err := leases.Leases(opts.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", opts.Name).String()})
	if err != nil {
		return false
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		lease, is := event.Object.(*coordinationv1.Lease)
		if !is {
			return false
		}
		// The first event tells how the lease is, which the elector has seen as well.
		free := lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == ""
		if event.Type == watch.Deleted || event.Type == watch.Modified && free {
			return true
		}
	}
	return false
}
