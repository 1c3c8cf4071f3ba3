package transfer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cellfed/cellfed/pkg/storage"
)

// markName is of the key that is there from before the first write of a restore
// until after its last check.
const markName = "unfinished"

// mark is its value.
type mark struct {
	Began time.Time `json:"began"`
	Host  string    `json:"host"`
	ID    string    `json:"id"` // tells two of the same host and time apart
}

// ErrNotEmpty refuses a target that holds something.
var ErrNotEmpty = errors.New("the target is not empty: a restore writes to an empty database only, so that nothing is overwritten or mixed")

// lookLimit is how long a plane that starts waits to learn that.
const lookLimit = 10 * time.Second

// RefuseUnfinished returns an error if a restore into this database has not ended
// well. What such a database lacks would look to a plane as if it had been deleted.
func RefuseUnfinished(ctx context.Context, at storage.Transport) error {
	s, err := reach(at)
	if err != nil {
		return err
	}
	defer s.client.Close() //nolint:errcheck // it only read
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	return s.refuseMarked(ctx)
}

func (s *store) refuseMarked(ctx context.Context) error {
	m, _, err := s.readMark(ctx)
	if err != nil || m == nil {
		return err
	}
	return fmt.Errorf("the database is half restored: a restore that began at %s on %s did not end; run cellfed storage restore into it again, which clears it first",
		m.Began.Format(time.RFC3339), m.Host)
}

// readMark gives the mark, nil if there is none, and its revision.
func (s *store) readMark(ctx context.Context) (*mark, int64, error) {
	got, err := s.client.Get(ctx, s.own(markName))
	if err != nil {
		return nil, 0, fmt.Errorf("looking for an unfinished restore: %w", err)
	}
	if len(got.Kvs) == 0 {
		return nil, 0, nil
	}
	m := &mark{Host: "an unknown host"}
	_ = json.Unmarshal(got.Kvs[0].Value, m) // whatever it says, it is there
	return m, got.Kvs[0].ModRevision, nil
}

// claim marks the target as this restore's. A target with objects is refused,
// unless an earlier restore left them: then they may be cleared.
func (r *restorer) claim(ctx context.Context) (clear bool, err error) {
	c, key := r.target.client, r.target.own(markName)
	before, at, err := r.target.readMark(ctx)
	if err != nil {
		return false, err
	}
	if before == nil {
		if err := r.refuseObjects(ctx); err != nil {
			return false, err
		}
	}
	host, _ := os.Hostname() // only to tell people
	value, err := json.Marshal(mark{Began: time.Now().UTC().Truncate(time.Second), Host: host, ID: rand.Text()})
	if err != nil {
		return false, err
	}
	txn := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", at)).Then(clientv3.OpPut(key, string(value)))
	if at > 0 {
		txn = txn.Else(clientv3.OpGet(key)) // the shape of an API server's update, which every backend knows
	}
	done, err := txn.Commit()
	switch {
	case err != nil:
		return false, fmt.Errorf("marking the target: %w", err)
	case !done.Succeeded:
		return false, errors.New("another restore began on the target at the same time")
	}
	r.marked = done.Header.Revision
	return before != nil, nil
}

// few keys are enough to meet an object: what is none is the health key, since
// without a mark there is nothing of this package.
const few = 2

func (r *restorer) refuseObjects(ctx context.Context) error {
	first, behind := r.target.all()
	got, err := r.target.client.Get(ctx, first, clientv3.WithRange(behind), clientv3.WithLimit(few), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("looking whether the target is empty: %w", err)
	}
	for _, kv := range got.Kvs {
		if !r.target.foreign(string(kv.Key)) {
			return ErrNotEmpty
		}
	}
	return nil
}

// release takes the mark off: the target is what the file is.
func (r *restorer) release(ctx context.Context) error {
	key := r.target.own(markName)
	return patiently(ctx, func(again bool) error {
		done, err := r.target.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", r.marked)).
			Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key)).Commit()
		switch {
		case err != nil:
			return err
		case !done.Succeeded && !(again && len(done.Responses[0].GetResponseRange().Kvs) == 0):
			return errors.New("another restore took the target over")
		}
		r.summary.Revision = done.Header.Revision
		return nil
	})
}
