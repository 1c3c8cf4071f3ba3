package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// A page is sized by what the last one weighed.
	pageBytes           = 4 << 20
	pageLeast, pageMost = 10, 2000
	pageFirst           = 200

	// longestLease tells a time to live that stands for its lease, as Kine has it,
	// from the number of a lease.
	longestLease = 10 * 365 * 24 * 3600
)

// record is one object as it is stored.
type record struct {
	key, value []byte
	lease      int64 // the source's number; 0 = it does not expire
	ttl        int64 // seconds that were left
}

// walk gives everything that an API server stored, in order, as it was at a
// revision. It ends with an error unless it gave all of it.
func (s *store) walk(ctx context.Context, revision int64) iter.Seq2[*mvccpb.KeyValue, error] {
	return func(yield func(*mvccpb.KeyValue, error) bool) {
		seen, limit := int64(0), int64(pageFirst)
		from, behind := s.all()
		var last []byte
		for {
			var page *clientv3.GetResponse
			err := patiently(ctx, func(bool) (err error) {
				page, err = s.client.Get(ctx, from, clientv3.WithRange(behind), clientv3.WithRev(revision), clientv3.WithLimit(limit))
				return err
			})
			if err != nil {
				yield(nil, forgotten(fmt.Errorf("reading from %q on at revision %d: %w", from, revision, err)))
				return
			}
			size := 1
			for _, kv := range page.Kvs {
				if bytes.Compare(kv.Key, last) <= 0 {
					yield(nil, fmt.Errorf("reading at revision %d: key %q came after %q", revision, kv.Key, last))
					return
				}
				last = kv.Key
				seen++
				size += len(kv.Key) + len(kv.Value)
				if !s.foreign(string(kv.Key)) && !yield(kv, nil) {
					return
				}
			}
			if !page.More {
				break
			}
			if len(page.Kvs) == 0 {
				yield(nil, fmt.Errorf("reading at revision %d: an empty page is said to have a successor", revision))
				return
			}
			from = string(last) + "\x00"
			limit = min(max(pageBytes*int64(len(page.Kvs))/int64(size), pageLeast), pageMost)
		}
		total, err := s.count(ctx, revision)
		if err == nil && total != seen {
			err = fmt.Errorf("reading at revision %d: got %d objects, and there are %d", revision, seen, total)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func (s *store) count(ctx context.Context, revision int64) (int64, error) {
	first, behind := s.all()
	got, err := s.client.Get(ctx, first, clientv3.WithRange(behind), clientv3.WithRev(revision), clientv3.WithCountOnly())
	if err != nil {
		return 0, forgotten(fmt.Errorf("counting at revision %d: %w", revision, err))
	}
	return got.Count, nil
}

// forgotten says what can be done about a revision that went while it was read.
func forgotten(err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("reading took longer than the plane keeps old revisions (five minutes), begin again when there is less to do: %w", err)
	}
	return err
}

// leases tells how long the objects of a lease have left. It asks once per lease.
type leases struct {
	client *clientv3.Client
	left   map[int64]int64
}

func (l *leases) ttl(ctx context.Context, lease int64) (int64, error) {
	if lease == 0 {
		return 0, nil
	}
	if left, ok := l.left[lease]; ok {
		return left, nil
	}
	got, err := l.client.TimeToLive(ctx, clientv3.LeaseID(lease))
	var left int64
	switch {
	case err == nil:
		left = max(got.TTL, 1) // one that ran out meanwhile had something left at the revision that is read
	case strings.Contains(err.Error(), "not supported") && lease > 0 && lease < longestLease:
		// Kine's leases are their own time to live, and it does not tell what is left of them.
		left = lease
	default:
		return 0, fmt.Errorf("asking how long lease %x has left: %w", lease, err)
	}
	l.left[lease] = left
	return left, nil
}
