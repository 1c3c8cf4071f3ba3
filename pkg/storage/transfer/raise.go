package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// raisers is how many throw-away writes are in flight.
	raisers = 256
	// Their past is forgotten as they go, so that it never takes much room.
	compactEvery = 50_000
)

// leap is how far above the source's revision a target goes that can get there in
// one step. Clients saw later revisions than the backup's; they are told to list
// anew as well if what they saw is below.
const leap = 1_000_000

// jumper is a storage that can raise its revision in one step. It answers
// errors.ErrUnsupported for a backend that cannot.
type jumper interface {
	RaiseRevision(ctx context.Context, to int64) error
}

// raise brings the target's revision to at least the given one. The etcd API has
// no other way than as many writes; a storage that knows a better one has it.
func (r *restorer) raise(ctx context.Context, to int64) error {
	now, err := r.target.revision(ctx)
	if err != nil || now >= to {
		return err
	}
	if j, ok := any(r.target.server).(jumper); ok {
		err := j.RaiseRevision(ctx, to+leap)
		if err == nil {
			return r.mustBeAt(ctx, to)
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("raising the target's revision to %d: %w", to, err)
		}
	}
	if err := r.raiseByWrites(ctx, now, to); err != nil {
		return fmt.Errorf("raising the target's revision to %d: %w", to, err)
	}
	return r.mustBeAt(ctx, to)
}

func (r *restorer) mustBeAt(ctx context.Context, revision int64) error {
	now, err := r.target.revision(ctx)
	if err == nil && now < revision {
		err = fmt.Errorf("the target's revision is %d, and must be %d at least", now, revision)
	}
	return err
}

func (r *restorer) raiseByWrites(ctx context.Context, from, to int64) error {
	need, begun := to-from, time.Now()
	r.progress.Printf("raising the revision from %d to that of the source, %d", from, to)
	var next, done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for n := range min(raisers, need) {
		key := r.target.own(fmt.Sprintf("raise/%d", n))
		group.Go(func() error {
			for next.Add(1) <= need {
				var put *clientv3.PutResponse
				err := patiently(ctx, func(bool) (err error) { put, err = r.target.client.Put(ctx, key, ""); return err })
				if err != nil {
					return err
				}
				n := done.Add(1)
				r.progress.Set("raising the revision", int(n), int(need), rate(n, begun))
				if n%compactEvery == 0 {
					if err := r.forget(ctx, put.Header.Revision); err != nil {
						return err
					}
				}
			}
			return r.drop(ctx, key)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.summary.Raised = need
	r.progress.Printf("raised the revision by %d, %s", need, rate(need, begun))
	return nil
}

// forget compacts what was before a revision.
func (r *restorer) forget(ctx context.Context, revision int64) error {
	err := patiently(ctx, func(bool) error { _, err := r.target.client.Compact(ctx, revision); return err })
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting the target: %w", err)
	}
	return nil
}

// drop deletes one key, in the shape that every backend knows.
func (r *restorer) drop(ctx context.Context, key string) error {
	return patiently(ctx, func(bool) error {
		got, err := r.target.client.Get(ctx, key)
		if err != nil || len(got.Kvs) == 0 {
			return err
		}
		done, err := r.target.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)).
			Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key)).Commit()
		if err == nil && !done.Succeeded {
			err = fmt.Errorf("somebody else writes %q", key)
		}
		return err
	})
}

func rate(n int64, since time.Time) string {
	return fmt.Sprintf("%.0f/s", float64(n)/max(time.Since(since).Seconds(), 0.001))
}
