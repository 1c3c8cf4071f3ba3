package apply

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/plan"
)

// fight is a ledger, a copy and somebody who changes it.
type fight struct {
	*testing.T
	ledger *Ledger
	now    time.Time
	step   *plan.Step
	writes int
}

func newFight(t *testing.T) *fight {
	f := &fight{T: t, ledger: NewLedger(), now: time.Unix(1795262400, 0)}
	f.step = updateOf(t, holding(1))
	f.step.Repairs = true
	f.ledger.begin(key, f.step.Unit, "m1")
	f.ledger.end(key, f.step.Unit, "r1", plan.Result{Outcome: plan.Done, Object: holding(2)}, f.now)
	return f
}

// holding is a copy with so many replicas and whatever else its member's people set.
func holding(replicas int64, fields ...string) *unstructured.Unstructured {
	u := web(ours)
	spec := map[string]any{"replicas": replicas}
	for _, f := range fields {
		spec[f] = "theirs"
	}
	u.Object["spec"] = spec
	return u
}

// changed is what happens when somebody has changed the copy: the plane puts it back, or leaves it. The answer is done
// unless another is given.
func (f *fight) changed(observed *unstructured.Unstructured, answer ...plan.Outcome) (fields []string) {
	f.Helper()
	r := f.ledger.Recall(key, f.step.Unit, nil, f.now)
	if r.Contest != nil && r.Contest.Subject == f.step.Subject() {
		f.ledger.agreed(key, &plan.Step{Unit: f.step.Unit, Action: plan.Wait, Why: plan.Why{Code: plan.CodeContested}}, f.now)
		return r.Contest.Fields
	}
	f.writes++
	s := *f.step
	s.Observed = observed
	result := plan.Result{Outcome: plan.Done, Object: holding(2)}
	if len(answer) > 0 {
		result.Outcome = answer[0]
	}
	f.ledger.contend(key, &s, result, f.now)
	return nil
}

// ours is what happens when the copy is found as asked.
func (f *fight) ours() {
	f.ledger.agreed(key, &plan.Step{Unit: f.step.Unit, Action: plan.Keep}, f.now)
}

func (f *fight) passes(d time.Duration) { f.now = f.now.Add(d) }

func (f *fight) wrote(want int, when string) {
	f.Helper()
	if f.writes != want {
		f.Errorf("%s: %d writes, want %d", when, f.writes, want)
	}
}

func TestAFightEndsAfterAFewRoundsAndIsTriedAgainAfterPausesThatGrow(t *testing.T) {
	f := newFight(t)
	for range 1000 { // ten seconds of somebody who writes a hundred times a second
		f.changed(holding(9))
		f.passes(10 * time.Millisecond)
	}
	f.wrote(rounds, "at first")
	if fields := f.changed(holding(9)); !slices.Equal(fields, []string{"spec.replicas"}) {
		t.Errorf("the contest names %v", fields)
	}
	pauses := []time.Duration{}
	for since := f.now; len(pauses) < 4; f.passes(time.Second) {
		if f.changed(holding(9)) == nil {
			pauses = append(pauses, f.now.Sub(since).Round(time.Minute))
			since = f.now
		}
	}
	want := []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute}
	if !slices.Equal(pauses, want) {
		t.Errorf("tried again after %v, want %v", pauses, want)
	}
}

func TestAConflictIsARoundToo(t *testing.T) {
	f := newFight(t)
	for range 100 {
		f.changed(holding(9), plan.Found)
	}
	f.wrote(rounds, "writes that never got through")
}

func TestAFailureIsNoRound(t *testing.T) {
	f := newFight(t)
	for range 100 {
		f.changed(holding(9), plan.Failed)
	}
	f.wrote(100, "a member that refuses, which has pauses of its own")
}

func TestSomebodyWhoChangesAnotherFieldEachTimeIsStoppedToo(t *testing.T) {
	f := newFight(t)
	for i := range 100 {
		f.changed(holding(2, string(rune('a'+i%26))))
	}
	f.wrote(roundsOfAll, "another field each time")
	if fields := f.changed(holding(2, "x")); len(fields) != 6 || fields[5] != "…" {
		t.Errorf("the contest names %v", fields)
	}
}

func TestWhatWasAddedIsNamedOnceTheMemberConfirmedARepair(t *testing.T) {
	f := newFight(t)
	for range 20 {
		f.changed(holding(2, "sidecar"))
	}
	f.wrote(rounds+1, "a field that was not asked for")
	if fields := f.changed(holding(2, "sidecar")); !slices.Equal(fields, []string{"spec.sidecar"}) {
		t.Errorf("the contest names %v", fields)
	}
}

func TestEditsThatAreFarApartAreNoFight(t *testing.T) {
	f := newFight(t)
	for range 50 {
		f.changed(holding(9))
		f.passes(calm + time.Second)
	}
	f.wrote(50, "one edit now and then")
}

func TestANewRevisionStartsAnew(t *testing.T) {
	f := newFight(t)
	for range 20 {
		f.changed(holding(9))
	}
	release := *f.step
	release.Revision, release.Repairs = "r2", false
	f.ledger.contend(key, &release, plan.Result{Outcome: plan.Done, Object: holding(2)}, f.now)
	f.step.Revision = "r2"
	for range 20 {
		f.changed(holding(9))
	}
	f.wrote(2*rounds, "two revisions")
}

func TestAFightIsOverWhenTheMembersValueIsOursForAWhile(t *testing.T) {
	f := newFight(t)
	for range 20 {
		f.changed(holding(9))
	}
	f.ours()
	f.passes(calm + time.Second)
	f.ours()
	for range 20 {
		f.changed(holding(9))
	}
	f.wrote(2*rounds, "peace in between")
}

func TestSomebodyWhoGivesInAndComesBackGetsOneMoreRound(t *testing.T) {
	f := newFight(t)
	for range 20 {
		f.changed(holding(9))
	}
	f.passes(2 * time.Minute)
	f.ours()
	f.passes(10 * time.Second)
	f.changed(holding(9))
	f.wrote(rounds+1, "after they gave in")
	for range 20 {
		f.changed(holding(9))
	}
	f.wrote(rounds+1, "and came back")
	// Two of them, one of whom wants what we want: a hundred times a second, for ten minutes.
	for range 10 * 60 * 50 {
		f.ours()
		f.passes(10 * time.Millisecond)
		f.changed(holding(9))
		f.passes(10 * time.Millisecond)
	}
	if more := f.writes - rounds - 1; more > 11 {
		t.Errorf("%d writes in ten minutes of give and take", more)
	}
}
