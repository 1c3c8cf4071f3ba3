package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/cellfed/cellfed/pkg/storage"
)

const (
	// writers is how many objects are on their way at a time.
	writers = 64
	// leaseObjects bounds what is bound to one lease: etcd ends a lease in one step.
	leaseObjects = 1000
	// leaseSlack is how inexactly a lease ends.
	leaseSlack = 5 * time.Second
)

// Restore writes a backup into an empty database. Unless it returns nil, the
// target is left marked: planes refuse it, and another restore clears it.
func Restore(ctx context.Context, in, to string, progress Progress) (s Summary, err error) {
	begun := time.Now()
	file, err := os.Open(in)
	if err != nil {
		return s, fmt.Errorf("opening backup: %w", err)
	}
	defer func() { _ = file.Close() }() // only read from
	info, err := file.Stat()
	if err != nil {
		return s, fmt.Errorf("opening backup: %w", err)
	}
	whole, err := openFile(file, info.Size())
	if err != nil {
		return s, fmt.Errorf("reading backup %s: %w", in, err)
	}
	s, err = restore(ctx, whole, to, progress)
	s.Took = time.Since(begun)
	return s, err
}

// restorer is one restore under way.
type restorer struct {
	file     *fileReader
	target   *store
	progress Progress
	summary  Summary
	marked   int64
	// began is before the first lease was granted.
	began  time.Time
	leases map[int64]*grant
}

// grant is a lease of the target in place of one of the source.
type grant struct {
	id      clientv3.LeaseID
	objects int
}

func restore(ctx context.Context, file *fileReader, to string, progress Progress) (_ Summary, err error) {
	r := &restorer{file: file, progress: progress, leases: map[int64]*grant{}}
	r.summary = Summary{Objects: file.records, Source: file.header.Revision, Bytes: file.size}
	if r.target, err = openStore(ctx, storage.Config{Endpoint: to}); err != nil {
		return r.summary, fmt.Errorf("opening the target: %w", err)
	}
	err = errors.Join(r.run(ctx), r.target.close(ctx))
	if err != nil {
		return r.summary, fmt.Errorf("restoring: %w", err)
	}
	return r.summary, nil
}

func (r *restorer) run(ctx context.Context) error {
	if ours, theirs := r.file.header.Prefix, r.target.prefix; ours != theirs {
		return fmt.Errorf("the backup's keys begin with %s and the target's with %s: what is encrypted is bound to its key and could not be read", ours, theirs)
	}
	unfinished, err := r.claim(ctx)
	if err != nil {
		return err
	}
	if unfinished {
		if err := r.clear(ctx); err != nil {
			return err
		}
	}
	if err := r.raise(ctx, r.file.header.Revision); err != nil {
		return err
	}
	if err := r.write(ctx); err != nil {
		return err
	}
	revision, err := r.target.revision(ctx)
	if err != nil {
		return err
	}
	if err := r.compare(ctx, revision); err != nil {
		return err
	}
	if err := r.forget(ctx, revision); err != nil {
		return err
	}
	return r.release(ctx)
}

// clear deletes what an earlier restore left.
func (r *restorer) clear(ctx context.Context) error {
	revision, err := r.target.revision(ctx)
	if err != nil {
		return err
	}
	r.progress.Printf("clearing what an unfinished restore left")
	var done atomic.Int64
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for kv, err := range r.target.walk(ctx, revision) {
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		key := string(kv.Key)
		group.Go(func() error {
			if err := r.drop(each, key); err != nil {
				return fmt.Errorf("deleting %s: %w", key, err)
			}
			r.progress.Set("clearing", int(done.Add(1)), 0, "")
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	left, err := r.target.client.Get(ctx, r.target.own("raise/"), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("clearing the target: %w", err)
	}
	for _, kv := range left.Kvs {
		if err := r.drop(ctx, string(kv.Key)); err != nil {
			return fmt.Errorf("deleting %s: %w", kv.Key, err)
		}
	}
	return nil
}

// write creates the file's objects, many at a time.
func (r *restorer) write(ctx context.Context) error {
	r.began = time.Now()
	var done atomic.Int64
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for record, err := range r.file.all() {
		var lease clientv3.LeaseID
		if err == nil {
			lease, err = r.lease(each, record)
		}
		if err == nil {
			err = each.Err() // a writer has failed, or the whole was called off
		}
		if err != nil {
			return firstOf(group.Wait(), err)
		}
		group.Go(func() error {
			if err := r.create(each, record, lease); err != nil {
				return fmt.Errorf("writing %s: %w", record.key, err)
			}
			n := done.Add(1)
			r.progress.Set("writing objects", int(n), r.file.records, rate(n, r.began))
			return nil
		})
	}
	return group.Wait()
}

// firstOf is the first error that is one.
func firstOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// lease finds or makes the target's lease for a record.
func (r *restorer) lease(ctx context.Context, record record) (clientv3.LeaseID, error) {
	if record.ttl == 0 {
		return clientv3.NoLease, nil
	}
	g := r.leases[record.lease]
	if g == nil || g.objects >= leaseObjects {
		var granted *clientv3.LeaseGrantResponse
		err := patiently(ctx, func(bool) (err error) { granted, err = r.target.client.Grant(ctx, record.ttl); return err })
		if err != nil {
			return 0, fmt.Errorf("granting a lease of %d s: %w", record.ttl, err)
		}
		g = &grant{id: granted.ID}
		r.leases[record.lease] = g
	}
	g.objects++
	return g.id, nil
}

func (r *restorer) create(ctx context.Context, record record, lease clientv3.LeaseID) error {
	key := string(record.key)
	return patiently(ctx, func(again bool) error {
		done, err := r.target.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(record.value), clientv3.WithLease(lease))).Commit()
		if err == nil && !done.Succeeded && !again { // else it may be ours, which the comparison will tell
			err = errors.New("it is there already: somebody else writes to the target")
		}
		return err
	})
}

// compare reads the target and the file side by side, key by key.
func (r *restorer) compare(ctx context.Context, revision int64) error {
	next, stop := iter.Pull2(r.target.walk(ctx, revision))
	defer stop()
	there, err, more := next()
	begun, done := time.Now(), int64(0)
	for record, fileErr := range r.file.all() {
		if err := firstOf(fileErr, err); err != nil {
			return fmt.Errorf("checking what was written: %w", err)
		}
		switch {
		case more && bytes.Equal(there.Key, record.key):
			if !same(there, record) {
				return fmt.Errorf("checking what was written: %s differs from the backup", record.key)
			}
			there, err, more = next()
		case r.expired(record):
			r.summary.Expired++
		case more && bytes.Compare(there.Key, record.key) < 0:
			return fmt.Errorf("checking what was written: %s is not in the backup: somebody else writes to the target", there.Key)
		default:
			return fmt.Errorf("checking what was written: %s is missing in the target", record.key)
		}
		done++
		r.progress.Set("checking objects", int(done), r.file.records, rate(done, begun))
	}
	if err != nil {
		return fmt.Errorf("checking what was written: %w", err)
	}
	if more {
		return fmt.Errorf("checking what was written: %s is not in the backup: somebody else writes to the target", there.Key)
	}
	return nil
}

// same tells whether the target has a record to the byte.
func same(kv *mvccpb.KeyValue, r record) bool {
	return bytes.Equal(kv.Value, r.value) && (kv.Lease != 0) == (r.ttl != 0)
}

// expired tells whether a record may have gone by itself since it was written.
func (r *restorer) expired(record record) bool {
	return record.ttl > 0 && time.Since(r.began)+leaseSlack >= time.Duration(record.ttl)*time.Second
}
