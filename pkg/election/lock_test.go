package election

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// shelf is where the lease of a test lies. Real leases on real servers are in test/ha; here moments matter that real
// servers cannot be held in.
type shelf struct {
	mu      sync.Mutex
	record  *resourcelock.LeaderElectionRecord
	version int
}

// lease is one server's handle on the shelf. As with a real one, an update replaces what was last read or written.
type lease struct {
	resourcelock.Interface
	shelf    *shelf
	identity string
	seen     int
}

func (l *lease) Identity() string { return l.identity }

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.shelf.mu.Lock()
	defer l.shelf.mu.Unlock()
	if l.shelf.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "l")
	}
	l.seen = l.shelf.version
	copied := *l.shelf.record
	raw, err := json.Marshal(copied)
	return &copied, raw, err
}

func (l *lease) Create(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.put(record, true)
}

func (l *lease) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.put(record, false)
}

func (l *lease) put(record resourcelock.LeaderElectionRecord, create bool) error {
	l.shelf.mu.Lock()
	defer l.shelf.mu.Unlock()
	if create != (l.shelf.record == nil) || !create && l.seen != l.shelf.version {
		return apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, "l", errors.New("changed"))
	}
	l.shelf.version++
	l.seen = l.shelf.version
	l.shelf.record = &record
	return nil
}

func (s *shelf) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record == nil {
		return ""
	}
	return s.record.HolderIdentity
}

func held(by string) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: by, LeaseDurationSeconds: 15}
}

// leading is the lock of a term that has begun.
func leading(t *testing.T, s *shelf, identity string) *lock {
	t.Helper()
	l := newLock(&lease{shelf: s, identity: identity}, 10*time.Second)
	if _, _, err := l.Get(t.Context()); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	write := l.Update
	if s.record == nil {
		write = l.Create
	}
	if err := write(t.Context(), held(identity)); err != nil {
		t.Fatal(err)
	}
	if err := l.fence.Check(); err != nil {
		t.Fatalf("who has just been elected may not write: %v", err)
	}
	return l
}

func isLost(l *lock) bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

func TestAFormerLeaderThatReadsAnothersNameIsOverAtOnce(t *testing.T) {
	s := &shelf{}
	a := leading(t, s, "a")
	leading(t, s, "b")
	if _, _, err := a.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !isLost(a) || a.fence.Check() == nil {
		t.Errorf("lost is %v, the fence says %v", isLost(a), a.fence.Check())
	}
	if err := a.Update(t.Context(), held("a")); !errors.Is(err, errOver) {
		t.Errorf("it goes on with the same term: %v", err)
	}
}

// The elector gives up a lease that it believes its own, also if somebody else holds it by now.
func TestAFormerLeaderDoesNotBlankItsSuccessorsLease(t *testing.T) {
	s := &shelf{}
	a := leading(t, s, "a")
	leading(t, s, "b")
	if _, _, err := a.Get(t.Context()); err != nil { // what the elector does before it releases
		t.Fatal(err)
	}
	if err := a.Update(t.Context(), held("")); err == nil || s.holder() != "b" {
		t.Errorf("%v; the lease is held by %q", err, s.holder())
	}
}

func TestALeaseThatWasReleasedBehindAFrozenLeaderIsNotTakenUpAgainInTheSameTerm(t *testing.T) {
	s := &shelf{}
	a, b := leading(t, s, "a"), leading(t, s, "b")
	if _, _, err := b.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t.Context(), held("")); err != nil || s.holder() != "" {
		t.Fatalf("%v, held by %q", err, s.holder())
	}
	if _, _, err := a.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Update(t.Context(), held("a")); !errors.Is(err, errOver) || !isLost(a) {
		t.Errorf("%v, lost is %v", err, isLost(a))
	}
}

func TestALeaseThatWasDeletedIsLost(t *testing.T) {
	s := &shelf{}
	a := leading(t, s, "a")
	s.record = nil
	if _, _, err := a.Get(t.Context()); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if !isLost(a) {
		t.Error("it is not")
	}
}

func TestTheFenceClosesBeforeTheLeaseIsGivenBack(t *testing.T) {
	s := &shelf{}
	a := leading(t, s, "a")
	if _, _, err := a.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Interface = &onUpdate{a.Interface, func() {
		if a.fence.Check() == nil {
			t.Error("the fence is open while the lease is given back")
		}
	}}
	if err := a.Update(t.Context(), held("")); err != nil || s.holder() != "" {
		t.Errorf("%v, held by %q", err, s.holder())
	}
}

type onUpdate struct {
	resourcelock.Interface
	do func()
}

func (u *onUpdate) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	u.do()
	return u.Interface.Update(ctx, record)
}

// clock is set by tests. Times without a monotonic part stand for a machine that was suspended.
type clock struct{ now atomic.Pointer[time.Time] }

func (c *clock) set(t time.Time) { c.now.Store(&t) }
func (c *clock) get() time.Time  { return *c.now.Load() }

func TestAFence(t *testing.T) {
	begun := time.Now()
	for name, tt := range map[string]struct {
		at   time.Time
		open bool
	}{
		"is open while the lease is fresh":                           {begun.Add(9 * time.Second), true},
		"is closed when the lease was not renewed in time":           {begun.Add(10 * time.Second), false},
		"is closed when the machine was suspended":                   {begun.Round(0).Add(time.Hour), false},
		"is open when somebody sets the clock back and time is left": {begun.Add(time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{}
			c.set(begun)
			f := &Fence{valid: 10 * time.Second, now: c.get}
			f.renew(begun)
			c.set(tt.at)
			if err := f.Check(); (err == nil) != tt.open {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("is closed before the first renewal", func(t *testing.T) {
		if (&Fence{valid: time.Hour, now: time.Now}).Check() == nil {
			t.Error("it is open")
		}
	})
	t.Run("that is over is not opened by a late renewal", func(t *testing.T) {
		f := &Fence{valid: time.Hour, now: time.Now}
		f.end()
		f.renew(time.Now())
		if f.Check() == nil {
			t.Error("it is open")
		}
	})
}

// A renewal counts from when it was sent: the answer may have been read a minute later.
func TestARenewalThatAProcessWasFrozenInOpensNothing(t *testing.T) {
	s := &shelf{}
	a := leading(t, s, "a")
	c := &clock{}
	c.set(time.Now())
	a.now, a.fence.now = c.get, c.get
	a.Interface = &onUpdate{a.Interface, func() { c.set(c.get().Add(time.Minute)) }}
	if err := a.Update(t.Context(), held("a")); err != nil {
		t.Fatal(err)
	}
	if a.fence.Check() == nil {
		t.Error("the fence is open")
	}
}

func TestThePlaneIsWrittenThroughTheFence(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer server.Close()
	f := &Fence{valid: time.Hour, now: time.Now}
	client, err := rest.HTTPClientFor(f.Guard(&rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	send := func(method string) error {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	f.renew(time.Now())
	if err := errors.Join(send(http.MethodGet), send(http.MethodPost)); err != nil || calls.Load() != 2 {
		t.Errorf("an open fence: %v after %d calls", err, calls.Load())
	}
	f.end()
	var fenced *FencedError
	if err := send(http.MethodPatch); !errors.As(err, &fenced) || !fenced.Over || calls.Load() != 2 {
		t.Errorf("a closed fence: %v after %d calls", err, calls.Load())
	}
	if err := send(http.MethodGet); err != nil {
		t.Errorf("reading: %v", err)
	}
}
