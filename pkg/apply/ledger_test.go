package apply

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/plan"
)

var (
	key   = Key{Type: "deployments.apps", Namespace: "acme", Name: "web"}
	start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

func object(uid, version string, labels ...string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "web"}}}
	u.SetUID(types.UID(uid))
	u.SetResourceVersion(version)
	if len(labels) == 0 {
		labels = []string{"true"}
	}
	u.SetLabels(map[string]string{wellknown.ManagedLabel: labels[0]})
	return u
}

func ended(l *Ledger, r plan.Result, at time.Time) {
	l.begin(key, "a", "m1")
	l.end(key, "a", "r1", r, at)
}

func TestWhatACallSawIsBelievedUntilTheWatchKnowsBetter(t *testing.T) {
	mine := object("u1", "10")
	theirs := object("u1", "10", "none")
	for name, tc := range map[string]struct {
		sight   plan.Result
		watched *unstructured.Unstructured
		after   time.Duration
		want    *unstructured.Unstructured
		probe   bool
	}{
		"nothing was seen":                            {plan.Result{Outcome: plan.Gone}, object("u1", "3"), 0, object("u1", "3"), false},
		"the watch is behind":                         {plan.Result{Outcome: plan.Done, Object: mine}, object("u1", "9"), 0, mine, false},
		"versions are numbers, not words":             {plan.Result{Outcome: plan.Done, Object: mine}, object("u1", "9"), time.Second, mine, false},
		"the watch has caught up":                     {plan.Result{Outcome: plan.Done, Object: mine}, object("u1", "10"), 0, object("u1", "10"), false},
		"the watch is ahead":                          {plan.Result{Outcome: plan.Done, Object: mine}, object("u1", "11"), 0, object("u1", "11"), false},
		"the watch shows another object":              {plan.Result{Outcome: plan.Done, Object: mine}, object("u2", "2"), 0, object("u2", "2"), false},
		"versions that are no numbers":                {plan.Result{Outcome: plan.Done, Object: object("u1", "x")}, object("u1", "y"), 0, object("u1", "y"), false},
		"the watch shows nothing yet":                 {plan.Result{Outcome: plan.Done, Object: mine}, nil, 0, mine, false},
		"the watch still shows nothing":               {plan.Result{Outcome: plan.Done, Object: mine}, nil, watchedSight + 1, nil, false},
		"no watch shows a foreign object":             {plan.Result{Outcome: plan.Found, Object: theirs}, nil, watchedSight + 1, theirs, false},
		"a foreign object is asked for after a while": {plan.Result{Outcome: plan.Found, Object: theirs}, nil, unwatchedSight + 1, theirs, true},
		"a foreign object that became ours":           {plan.Result{Outcome: plan.Found, Object: theirs}, object("u1", "11"), 0, object("u1", "11"), false},
		"what changed meanwhile was not seen":         {plan.Result{Outcome: plan.Stale}, object("u1", "3"), 0, object("u1", "3"), false},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger()
			ended(l, tc.sight, start)
			for range 2 { // asking does not change the answer
				r := l.Recall(key, "a", tc.watched, start.Add(tc.after))
				if (r.Observed == nil) != (tc.want == nil) || r.Observed != nil &&
					(r.Observed.GetUID() != tc.want.GetUID() || r.Observed.GetResourceVersion() != tc.want.GetResourceVersion()) {
					t.Errorf("observed %v, want %v", r.Observed, tc.want)
				}
				if r.Probe != tc.probe || r.InFlight || r.Failure != nil {
					t.Errorf("%+v", r)
				}
			}
			if other := l.Recall(key, "b", nil, start); other.Observed != nil {
				t.Error("another unit knows of it")
			}
		})
	}
}

func TestTheEchoOfACallWakesNobody(t *testing.T) {
	l := NewLedger()
	if !l.Watched(key, "a", object("u1", "9")) {
		t.Error("a change that nobody here made was taken for an echo")
	}
	ended(l, plan.Result{Outcome: plan.Done, Object: object("u1", "10")}, start)
	if l.Watched(key, "a", object("u1", "10")) {
		t.Error("the echo of a call was taken for news")
	}
	if !l.Watched(key, "a", object("u1", "11")) {
		t.Error("the change after it was taken for an echo")
	}
	if !l.Watched(key, "b", object("u1", "10")) {
		t.Error("another unit's change was taken for an echo")
	}
	if !l.Watched(key, "a", nil) {
		t.Error("the object's end was taken for an echo")
	}
	if r := l.Recall(key, "a", nil, start); r.Observed != nil {
		t.Errorf("after the watch showed its end, it is remembered: %v", r.Observed)
	}
}

// A deletion that is under way can end in the member before its answer has been read here. No watch would ever take
// back the sight of an object that is gone.
func TestAnObjectThatWentWhileACallWasUnderWayIsNotRemembered(t *testing.T) {
	l := NewLedger()
	l.begin(key, "a", "m1")
	if !l.Watched(key, "a", nil) {
		t.Error("its end was taken for an echo")
	}
	l.end(key, "a", "", plan.Result{Outcome: plan.Done, Object: object("u1", "10")}, start)
	if r := l.Recall(key, "a", nil, start); r.Observed != nil {
		t.Errorf("remembered: %v", r.Observed)
	}
	ended(l, plan.Result{Outcome: plan.Done, Object: object("u2", "12")}, start)
	if r := l.Recall(key, "a", nil, start); r.Observed == nil {
		t.Error("the next call's object is not remembered")
	}
}

func TestFailuresAreRepeatedAfterGrowingPauses(t *testing.T) {
	l := NewLedger()
	failed := plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: "UpdateFailed", Message: "no"}}
	at := start
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want *= time.Second
		ended(l, failed, at)
		r := l.Recall(key, "a", nil, at)
		if r.Failure == nil || r.Failure.Code != "UpdateFailed" || r.Failure.Revision != "r1" {
			t.Fatalf("failure %d: %+v", i+1, r.Failure)
		}
		if d := r.Until.Sub(at); d < want || d > want+want/10 {
			t.Errorf("pause %d is %v, want %v and up to a tenth more", i+1, d, want)
		}
		if after := l.Recall(key, "a", nil, r.Until); after.Failure != nil || !after.Until.IsZero() {
			t.Errorf("after the pause: %+v", after)
		}
		at = r.Until
	}
	ended(l, plan.Result{Outcome: plan.Done, Object: object("u1", "1")}, at)
	ended(l, failed, at)
	if d := l.Recall(key, "a", nil, at).Until.Sub(at); d > 1100*time.Millisecond {
		t.Errorf("after a success the first pause is %v", d)
	}
}

func TestPausesAreJittered(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 50 {
		d := pause(7)
		if d < lastPause || d > lastPause+lastPause/10 {
			t.Fatalf("%v", d)
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d different pauses of 50: what failed together comes back together", len(seen))
	}
}

func TestAMembersReturnForgivesFailuresAndForgetsNoSight(t *testing.T) {
	l := NewLedger()
	ended(l, plan.Result{Outcome: plan.Done, Object: object("u1", "10")}, start)
	ended(l, plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: "X"}}, start)
	ended(l, plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: "X"}}, start)
	l.ForgetFailures(key, "m1")
	r := l.Recall(key, "a", nil, start)
	if r.Failure != nil || r.Observed == nil {
		t.Errorf("%+v", r)
	}
	ended(l, plan.Result{Outcome: plan.Failed}, start)
	if d := l.Recall(key, "a", nil, start).Until.Sub(start); d > 1100*time.Millisecond {
		t.Errorf("the first pause afterwards is %v", d)
	}
	l.Forget(key)
	if r := l.Recall(key, "a", nil, start); r.Observed != nil || r.Failure != nil || len(l.units) != 0 {
		t.Errorf("after forgetting: %+v, %d objects", r, len(l.units))
	}
}

func TestOneCallPerUnitAtATime(t *testing.T) {
	l := NewLedger()
	if !l.begin(key, "a", "m1") || l.begin(key, "a", "m1") {
		t.Error("two calls for one unit")
	}
	if !l.begin(key, "b", "m1") {
		t.Error("another unit has to wait")
	}
	if !l.Recall(key, "a", nil, start).InFlight {
		t.Error("nobody can see it")
	}
	l.end(key, "a", "", plan.Result{Outcome: plan.Gone}, start)
	if l.Recall(key, "a", nil, start).InFlight || !l.begin(key, "a", "m1") {
		t.Error("it does not end")
	}
}

func TestALedgerIsUsedByManyAtOnce(t *testing.T) {
	l := NewLedger()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			k := Key{Name: fmt.Sprint(w % 4)}
			for i := range 200 {
				if l.begin(k, "a", "m1") {
					outcome := []plan.Outcome{plan.Done, plan.Failed, plan.Gone, plan.Stale}[i%4]
					l.end(k, "a", "", plan.Result{Outcome: outcome, Object: object("u1", fmt.Sprint(i))}, start)
				}
				l.Watched(k, "a", object("u1", fmt.Sprint(i)))
				l.Recall(k, "a", nil, start)
				l.ForgetFailures(k, "m1")
				if i%50 == 0 {
					l.Forget(k)
				}
			}
		})
	}
	all.Wait()
}

func TestAMemberThatAlwaysAnswersThatItChangedIsAFailureInTheEnd(t *testing.T) {
	l, now := NewLedger(), time.Now()
	moved := plan.Result{Outcome: plan.Stale, Why: plan.Why{Code: plan.CodeUpdateFailed, Message: "the webhook's own words"}}
	for range movedTooOften - 1 {
		l.begin(key, "a", "m1")
		l.end(key, "a", "r1", moved, now)
	}
	if r := l.Recall(key, "a", nil, now); r.Failure != nil {
		t.Fatalf("too soon: %+v", r.Failure)
	}
	l.begin(key, "a", "m1")
	l.end(key, "a", "r1", moved, now)
	if r := l.Recall(key, "a", nil, now); r.Failure == nil || r.Failure.Message != moved.Why.Message || r.Failure.Revision != "r1" {
		t.Fatalf("after %d times: %+v", movedTooOften, r.Failure)
	}
	l.begin(key, "a", "m1")
	l.end(key, "a", "r1", plan.Result{Outcome: plan.Done, Object: web()}, now)
	l.begin(key, "a", "m1")
	l.end(key, "a", "r1", moved, now)
	if r := l.Recall(key, "a", nil, now); r.Failure != nil {
		t.Errorf("a write that went through starts the count anew: %+v", r.Failure)
	}
}
