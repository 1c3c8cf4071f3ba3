package apply

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/plan"
)

// A contest is somebody in a member who keeps changing what is asked for. The plane puts it back a few times, because a
// person may have erred more than once, and then stops: two controllers that write against each other for ever harm the
// member more than a wrong value does. It tries again after long pauses, each twice the one before.
const (
	// rounds is how often one field is put back before the plane stops.
	rounds = 5
	// roundsOfAll is how often a copy is, when it is another field each time.
	roundsOfAll = 4 * rounds
	// calm ends a contest: for so long nobody had to be put right.
	calm = 5 * time.Minute
	// The pauses between later tries.
	firstTruce = 10 * time.Minute
	lastTruce  = 6 * time.Hour
	// regret is how soon after the last round another one is tried when the member's value had been ours again: whoever
	// fought has given in, or seems to have.
	regret = time.Minute
	// maxFields bounds how many fields are remembered.
	maxFields = 32
)

// contest is the memory of one copy's repairs.
type contest struct {
	subject string
	fields  map[string]int
	all     int
	last    time.Time
	// agreed is since when the member's value has been ours again; zero = it is not.
	agreed time.Time
	until  time.Time // the truce's end; zero = none was made yet
	truce  time.Duration
	// confirmed is the copy as the last repair left it.
	confirmed *unstructured.Unstructured
}

// over tells whether a contest is no more: nobody had to be put right for long, and not because the plane waited.
func (c *contest) over(now time.Time) bool {
	if !c.agreed.IsZero() {
		return now.Sub(c.agreed) > calm
	}
	return c.until.IsZero() && now.Sub(c.last) > calm
}

// now is the contest that plans must know of; nil = none.
func (c *contest) now(now time.Time) (*plan.Contest, time.Time) {
	if c == nil || !now.Before(c.until) {
		return nil, time.Time{}
	}
	var worst []string
	for _, f := range slices.Sorted(maps.Keys(c.fields)) {
		if c.fields[f] >= rounds {
			worst = append(worst, f)
		}
	}
	if len(worst) == 0 {
		worst = slices.Sorted(maps.Keys(c.fields))
	}
	const told = 5
	if len(worst) > told {
		worst = append(worst[:told:told], "…")
	}
	return &plan.Contest{Subject: c.subject, Fields: worst}, c.until
}

// put counts a round.
func (c *contest) put(fields []string, now time.Time) {
	c.all++
	most := 0
	for _, f := range fields {
		if _, known := c.fields[f]; known || len(c.fields) < maxFields {
			c.fields[f]++
		}
		most = max(most, c.fields[f])
	}
	c.last, c.agreed = now, time.Time{}
	if most < rounds && c.all < roundsOfAll {
		return
	}
	c.truce = min(max(2*c.truce, firstTruce), lastTruce)
	c.until = now.Add(c.truce)
}

// contend notes a write that a member answered: what it confirmed; and a repair is a round, while a write of anything else
// ends what was fought over.
func (l *Ledger) contend(key Key, step *plan.Step, r plan.Result, now time.Time) {
	if step.Action != plan.Update && step.Action != plan.Create || r.Outcome == plan.Failed {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.units[key][step.Unit]
	if e == nil {
		return
	}
	if r.Outcome == plan.Done {
		if version, err := step.Lens.Version(r.Object); err == nil {
			e.confirmed = &plan.Confirmed{Revision: step.Revision, Version: version}
		}
	}
	c := e.contest
	if !step.Repairs {
		if c != nil && c.subject != step.Subject() {
			e.contest = nil
		}
		return
	}
	if c == nil || c.subject != step.Subject() || c.over(now) {
		c = &contest{subject: step.Subject(), fields: map[string]int{}}
		e.contest = c
	}
	c.put(contestedFields(c, step), now)
	if r.Outcome == plan.Done {
		c.confirmed = r.Object
	}
}

// contestedFields are what somebody changed. What the member confirmed last tells it exactly; before there is such a
// thing, what was asked for tells it but for what was added.
func contestedFields(c *contest, step *plan.Step) []string {
	other, confirmed := c.confirmed, true
	if other == nil {
		other, confirmed = step.Object, false
	}
	fields := step.Lens.Differences(step.Observed, other, confirmed, maxFields)
	if len(fields) == 0 {
		return []string{"what is not asked for"}
	}
	return fields
}

// agreed notes what a plan found in a unit without writing: ours, or contested.
func (l *Ledger) agreed(key Key, step *plan.Step, now time.Time) {
	keeps, contested := step.Action == plan.Keep, step.Why.Code == plan.CodeContested
	if !keeps && !contested {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.units[key][step.Unit]
	if e == nil || e.contest == nil {
		return
	}
	switch c := e.contest; {
	case contested:
		c.agreed = time.Time{}
	case c.agreed.IsZero():
		c.agreed = now
		if again := c.last.Add(regret); !c.until.IsZero() && again.Before(c.until) {
			c.until = again
		}
	case c.over(now):
		e.contest = nil
	}
}
