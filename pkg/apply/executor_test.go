package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cellfed/cellfed/pkg/plan"
)

// wakes collects the keys that an executor wakes.
type wakes struct {
	mu   sync.Mutex
	keys []Key
}

func (w *wakes) wake(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = append(w.keys, k)
}

func (w *wakes) take() []Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := w.keys
	w.keys = nil
	return keys
}

// bench is an executor with members to work on.
type bench struct {
	*Executor
	ledger  *Ledger
	wakes   *wakes
	members map[string]*fakeMember
}

func newBench(t *testing.T, opts Options, members ...string) *bench {
	b := &bench{ledger: NewLedger(), wakes: &wakes{}, members: map[string]*fakeMember{}}
	b.Executor = NewExecutor(b.ledger, b.wakes.wake, opts)
	for _, m := range members {
		b.members[m] = newFakeMember(t, m)
	}
	return b
}

func (b *bench) connect(name string) (Connection, error) {
	if m := b.members[name]; m != nil {
		return m, nil
	}
	return nil, errors.New("member " + name + " is not connected")
}

func (b *bench) do(ctx context.Context, k Key, steps ...plan.Step) (map[string]plan.Result, time.Duration) {
	began := time.Now()
	r := b.Do(ctx, k, deployments, &plan.Plan{Steps: steps}, b.connect)
	return r, time.Since(began)
}

func creation(unit, member, name string) plan.Step {
	u := web()
	u.SetName(name)
	return plan.Step{Unit: unit, Member: member, Namespace: "acme", Name: name, Action: plan.Create, Revision: "r1", Object: u}
}

func named(name string) Key { return Key{Type: "deployments.apps", Namespace: "acme", Name: name} }

func outcomes(results map[string]plan.Result) map[string]plan.Outcome {
	out := map[string]plan.Outcome{}
	for unit, r := range results {
		out[unit] = r.Outcome
	}
	return out
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("in vain: %s", what)
}

func TestOnlyStepsThatTouchMembersAreCarriedOut(t *testing.T) {
	b := newBench(t, Options{}, "m1")
	steps := []plan.Step{creation("a", "m1", "web")}
	for _, a := range []plan.Action{plan.Keep, plan.Hold, plan.Wait, plan.Drop} {
		steps = append(steps, plan.Step{Unit: string(a), Member: "m1", Action: a})
	}
	steps = append(steps, plan.Step{Unit: "c", Member: "m1", Namespace: "acme", Name: "other", Action: plan.Confirm})
	got, _ := b.do(t.Context(), key, steps...)
	if diff := cmp.Diff(map[string]plan.Outcome{"a": plan.Done, "c": plan.Gone}, outcomes(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(b.members["m1"].heard()); n != 2 {
		t.Errorf("%d calls: %v", n, b.members["m1"].heard())
	}
	if r := b.ledger.Recall(key, "a", nil, time.Now()); r.Observed == nil || r.InFlight {
		t.Errorf("the ledger remembers %+v", r)
	}
	if keys := b.wakes.take(); len(keys) > 0 {
		t.Errorf("woken for nothing: %v", keys)
	}
}

func TestAMemberThatIsNotConnectedFailsItsOwnUnits(t *testing.T) {
	b := newBench(t, Options{}, "m1")
	got, _ := b.do(t.Context(), key, creation("a", "m1", "web"), creation("b", "m2", "web"))
	if got["a"].Outcome != plan.Done || got["b"].Outcome != plan.Failed || got["b"].Why.Code != plan.CodeClusterNotReady {
		t.Errorf("%+v", got)
	}
}

func TestAMemberThatHangsCostsOnePatienceOnceAndNoneAfterwards(t *testing.T) {
	const patience = 300 * time.Millisecond
	b := newBench(t, Options{Patience: patience}, "good", "bad")
	b.members["bad"].freeze()
	got, took := b.do(t.Context(), named("w0"), creation("a", "good", "w0"), creation("b", "bad", "w0"))
	if diff := cmp.Diff(map[string]plan.Outcome{"a": plan.Done, "b": plan.Pending}, outcomes(got)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if took < patience || took > 5*patience {
		t.Errorf("the first object waited %v; the patience is %v", took, patience)
	}
	// From now on it is known to be slow: nobody waits for it.
	for i := range 5 {
		k := named(fmt.Sprintf("w%d", i+1))
		got, took := b.do(t.Context(), k, creation("b", "bad", k.Name))
		if got["b"].Outcome != plan.Pending || took > patience/2 {
			t.Errorf("object %d: %v after %v", i+1, got["b"].Outcome, took)
		}
		got, _ = b.do(t.Context(), k, creation("a", "good", k.Name), creation("c", "bad", k.Name+"-c"))
		if got["a"].Outcome != plan.Done || got["c"].Outcome != plan.Pending {
			t.Errorf("object %d in both: %v", i+1, outcomes(got))
		}
	}
	if !b.ledger.Recall(named("w0"), "b", nil, time.Now()).InFlight {
		t.Error("the unit is not known to have a write under way")
	}
	// The same unit gets no second call meanwhile.
	before := len(b.members["bad"].heard())
	got, _ = b.do(t.Context(), named("w0"), creation("b", "bad", "w0"))
	if got["b"].Outcome != plan.Pending || len(b.members["bad"].heard()) != before {
		t.Errorf("%v, %d calls", got["b"].Outcome, len(b.members["bad"].heard())-before)
	}
	// Its late answers wake the objects, and are remembered.
	b.wakes.take()
	b.members["bad"].thaw()
	var woken []Key
	eventually(t, "every object that waits is woken", func() bool {
		woken = append(woken, b.wakes.take()...)
		for i := range 6 {
			if !slices.Contains(woken, named(fmt.Sprintf("w%d", i))) {
				return false
			}
		}
		return true
	})
	if r := b.ledger.Recall(named("w0"), "b", nil, time.Now()); r.InFlight || r.Observed == nil {
		t.Errorf("the ledger remembers %+v", r)
	}
	// A few quick answers and it is waited for again. (What hung so long did not count as one.)
	eventually(t, "nothing is under way", func() bool { return !b.busy("bad") })
	for i := 0; b.slow("bad"); i++ {
		if i == 100*firstTrust { // on a busy machine not every answer is quick
			t.Fatal("the quick answers are not noticed")
		}
		x := named(fmt.Sprintf("x%d", i))
		b.do(t.Context(), x, creation("b", "bad", x.Name))
		eventually(t, "nothing is under way", func() bool { return !b.busy("bad") })
	}
	if got, _ = b.do(t.Context(), named("y"), creation("b", "bad", "y")); got["b"].Outcome != plan.Done {
		t.Errorf("after its recovery: %v", got["b"].Outcome)
	}
}

func (b *bench) busy(member string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lane(route{member, named("").Type}).underWay > 0
}

func (b *bench) slow(member string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lane(route{member, named("").Type}).slow
}

func TestCallsToOneMemberAreBoundedAndRoomWakesWhoWaits(t *testing.T) {
	b := newBench(t, Options{Patience: 50 * time.Millisecond, CallsPerMember: 3}, "m1")
	b.members["m1"].freeze()
	waiting := map[Key]bool{}
	for i := range 10 {
		k := named(fmt.Sprintf("w%d", i))
		if got, _ := b.do(t.Context(), k, creation("a", "m1", k.Name)); got["a"].Outcome != plan.Pending {
			t.Fatalf("%v", got)
		}
		waiting[k] = true
	}
	if n := b.members["m1"].busiest(); n > 3 {
		t.Errorf("%d calls at once", n)
	}
	if b.ledger.Recall(named("w9"), "a", nil, time.Now()).InFlight {
		t.Error("an object that waits for room holds its unit as if it were written")
	}
	b.members["m1"].thaw()
	// Whoever is woken comes again, as the queue would do, until all are done.
	eventually(t, "all are written", func() bool {
		for _, k := range b.wakes.take() {
			if b.members["m1"].get("/apis/apps/v1/namespaces/acme/deployments/"+k.Name) == nil {
				b.do(t.Context(), k, creation("a", "m1", k.Name))
			}
		}
		for k := range waiting {
			if b.members["m1"].get("/apis/apps/v1/namespaces/acme/deployments/"+k.Name) == nil {
				return false
			}
		}
		return true
	})
	if n := b.members["m1"].busiest(); n > 3 {
		t.Errorf("%d calls at once", n)
	}
}

// Who is woken may have nothing to do any more and then wakes nobody; the others must not be left waiting for it.
func TestRoomIsNotLostOnWhoDoesNotNeedIt(t *testing.T) {
	b := newBench(t, Options{Patience: 20 * time.Millisecond, CallsPerMember: 2}, "m1")
	b.members["m1"].freeze()
	want := map[Key]bool{}
	for i := range 12 {
		k := named(fmt.Sprintf("w%d", i))
		b.do(t.Context(), k, creation("a", "m1", k.Name))
		want[k] = true
	}
	b.wakes.take()
	b.members["m1"].thaw()
	eventually(t, "all are woken although none of them comes", func() bool {
		for _, k := range b.wakes.take() {
			delete(want, k)
		}
		return len(want) == 0
	})
}

func TestTheEndOfAConnectionEndsItsCalls(t *testing.T) {
	b := newBench(t, Options{Patience: 10 * time.Second, CallTimeout: time.Minute}, "m1")
	m := b.members["m1"]
	ctx, cut := context.WithCancel(t.Context())
	m.ctx = ctx
	m.freeze()
	time.AfterFunc(50*time.Millisecond, cut)
	got, took := b.do(t.Context(), key, creation("a", "m1", "web"))
	if got["a"].Outcome != plan.Failed || took > 5*time.Second {
		t.Errorf("%+v after %v", got["a"], took)
	}
	if b.ledger.Recall(key, "a", nil, time.Now()).InFlight {
		t.Error("the unit is held for ever")
	}
}

func TestTheEndOfALookDoesNotEndItsCalls(t *testing.T) {
	b := newBench(t, Options{Patience: 10 * time.Second}, "m1")
	b.members["m1"].freeze()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if got, _ := b.do(ctx, key, creation("a", "m1", "web")); got["a"].Outcome != plan.Pending {
		t.Errorf("%+v", got)
	}
	b.members["m1"].thaw()
	eventually(t, "the write ends and the object is woken", func() bool { return slices.Contains(b.wakes.take(), key) })
	if b.members["m1"].get(webPath) == nil {
		t.Error("the write was called back half way")
	}
}

func TestACallIsBounded(t *testing.T) {
	b := newBench(t, Options{Patience: 20 * time.Millisecond, CallTimeout: 100 * time.Millisecond}, "m1")
	b.members["m1"].freeze()
	b.do(t.Context(), key, creation("a", "m1", "web"))
	eventually(t, "the call is given up", func() bool { return slices.Contains(b.wakes.take(), key) })
	if r := b.ledger.Recall(key, "a", nil, time.Now()); r.Failure == nil || r.Failure.Code != plan.CodeCreationTimedOut || r.Failure.Revision != "r1" {
		t.Errorf("%+v", r.Failure)
	}
}

func TestAFailedRemovalIsRememberedAsOne(t *testing.T) {
	b := newBench(t, Options{}, "m1")
	m := b.members["m1"]
	there := m.put(webPath, web().Object)
	m.mu.Lock()
	m.answer = refuseAll
	m.mu.Unlock()
	s := *step(plan.Delete, nil, there)
	s.Unit = "a"
	if got, _ := b.do(t.Context(), key, s); got["a"].Outcome != plan.Failed {
		t.Fatalf("%+v", got)
	}
	if f := b.ledger.Recall(key, "a", nil, time.Now()).Failure; f == nil || f.Revision != "" || f.Code != plan.CodeDeletionFailed {
		t.Errorf("%+v", f)
	}
}

func TestManyObjectsAtOnceInManyMembers(t *testing.T) {
	b := newBench(t, Options{Patience: 5 * time.Second, CallsPerMember: 4}, "m1", "m2", "m3")
	var all sync.WaitGroup
	for w := range 20 {
		all.Go(func() {
			k := named(fmt.Sprintf("w%d", w))
			for done := false; !done; {
				steps := []plan.Step{creation("a", "m1", k.Name), creation("b", "m2", k.Name), creation("c", "m3", k.Name)}
				results, _ := b.do(t.Context(), k, steps...)
				done = true
				for unit, r := range results {
					if r.Outcome == plan.Failed || r.Outcome == plan.Stale {
						t.Errorf("%s of %s: %+v", unit, k, r)
						return
					}
					done = done && r.Outcome != plan.Pending
				}
			}
		})
	}
	all.Wait()
	for name, m := range b.members {
		if n := count(m.heard(), "POST"); n < 20 || m.busiest() > 4 {
			t.Errorf("%s: %d creations, %d at once", name, n, m.busiest())
		}
		eventually(t, "nothing is under way", func() bool { return !b.busy(name) })
	}
}
