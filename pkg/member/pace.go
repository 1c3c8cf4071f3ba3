package member

import (
	"context"
	"time"
)

// pacer holds up whoever reads more than a rate, after a first burst: a member that says more than the plane can use
// must not take the processors away from the others. What is not read yet waits in the member, not here.
type pacer struct {
	perSecond, burst float64
	have             float64
	last             time.Time
}

func newPacer(perSecond, burst float64) *pacer {
	return &pacer{perSecond: perSecond, burst: burst, have: burst, last: time.Now()}
}

// spend waits until there is room for a cost.
func (p *pacer) spend(ctx context.Context, cost float64) error {
	now := time.Now()
	p.have = min(p.burst, p.have+now.Sub(p.last).Seconds()*p.perSecond)
	p.last = now
	p.have -= cost
	if p.have >= 0 {
		return nil
	}
	wait := time.NewTimer(time.Duration(-p.have / p.perSecond * float64(time.Second)))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-wait.C:
		return nil
	}
}
