package storage

import (
	"context"
	"time"

	"k8s.io/klog/v2"
)

const (
	expireBatch = 256
	expireRetry = time.Second
	// expireAtLeast is how often the clock is looked at anew while something is
	// due later: a machine that slept, or whose clock was set, still expires.
	expireAtLeast = time.Minute
)

// expirer deletes keys whose lease ran out. The time stands in the entry, so a
// restart neither forgets nor prolongs it. With no lease in the database it
// sleeps until one is written.
type expirer struct {
	backend *backend
	signal  chan int64
}

func newExpirer(b *backend) *expirer {
	return &expirer{backend: b, signal: make(chan int64, 1)}
}

// wake tells of a new expiry. Whether it is the earliest, run finds out.
func (x *expirer) wake(at int64) {
	for {
		select {
		case x.signal <- at:
			return
		case other := <-x.signal: // not heard yet: the earlier one is what matters
			at = min(at, other)
		}
	}
}

func (x *expirer) run(ctx context.Context) {
	for {
		wait, err := x.expire(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			klog.ErrorS(err, "Expiring leased keys failed, trying again")
			wait = expireRetry
		}
		x.sleep(ctx, x.rest(wait))
	}
}

// rest is how long to sleep when the next lease that is known runs out after wait,
// negative = none is known. Leases that another server wrote are not known here;
// if that server is gone, they run out here all the same.
func (x *expirer) rest(wait time.Duration) time.Duration {
	if wait < 0 && x.backend.data.dialect.shared {
		return expireAtLeast
	}
	return wait
}

// sleep waits until something is due; negative = until something is written
// that expires. A later expiry than the one waited for does not wake it.
func (x *expirer) sleep(ctx context.Context, wait time.Duration) {
	var due <-chan time.Time
	if wait >= 0 {
		timer := time.NewTimer(min(wait, expireAtLeast))
		defer timer.Stop()
		due = timer.C
	}
	until := time.Now().Add(wait).UnixMilli()
	for {
		select {
		case <-due:
			return
		case at := <-x.signal:
			if wait < 0 || at < until {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// lease is an entry that expires.
type lease struct {
	key      string
	revision int64
	expires  int64
}

// expire deletes what is due and says how long until the next is, negative =
// nothing is known to expire.
func (x *expirer) expire(ctx context.Context) (time.Duration, error) {
	for {
		leases, err := x.next(ctx)
		if err != nil {
			return 0, err
		}
		for _, l := range leases {
			if wait := time.Until(time.UnixMilli(l.expires)); wait > 0 {
				return wait, nil
			}
			// Only if it still is that entry: a renewed one has a later time.
			if _, _, _, err := x.backend.Delete(ctx, l.key, l.revision); err != nil {
				return 0, err
			}
		}
		if len(leases) < expireBatch {
			return -1, nil
		}
	}
}

// next reads the leases that run out first.
func (x *expirer) next(ctx context.Context) (leases []lease, err error) {
	err = x.backend.reader.look(ctx, func(s *snapshot) error {
		rows, err := s.rows(s.dialect.due, expireBatch)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // rows.Err was asked
		for rows.Next() {
			var l lease
			if err := rows.Scan(&l.key, &l.revision, &l.expires); err != nil {
				return err
			}
			leases = append(leases, l)
		}
		return rows.Err()
	})
	return leases, err
}
