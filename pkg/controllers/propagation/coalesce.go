package propagation

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cellfed/cellfed/pkg/apply"
	"github.com/cellfed/cellfed/pkg/report"
)

// quietPause is the least time between the last status write of an object and one that tells nothing but how its
// copies are doing. The first such news after a pause is told at once.
const quietPause = 400 * time.Millisecond

// sweepPause is how often what is remembered of old writes is thrown away.
const sweepPause = time.Minute

// pacer coalesces status writes: a copy whose status changes all the time costs its plane a few writes a second and no
// more, while nothing that anybody acts upon ever waits. What it forgets costs one write.
type pacer struct {
	mu    sync.Mutex
	last  map[apply.Key]time.Time
	swept time.Time
}

// wrote notes a status write.
func (p *pacer) wrote(key apply.Key, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[apply.Key]time.Time{}
	}
	if now.Sub(p.swept) > sweepPause {
		for old, t := range p.last {
			if now.Sub(t) > quietPause {
				delete(p.last, old)
			}
		}
		p.swept = now
	}
	p.last[key] = now
}

// wait says how long a status has to wait; 0 = it is to be written now. Whoever waits looks at the object again then,
// and tells what is true then.
func (p *pacer) wait(key apply.Key, before any, after map[string]any, now time.Time) time.Duration {
	p.mu.Lock()
	last, known := p.last[key]
	p.mu.Unlock()
	since := now.Sub(last)
	if !known || since >= quietPause || since < 0 { // a clock that was set back must not silence anybody
		return 0
	}
	if m, _ := before.(map[string]any); urgent(m, after) {
		return 0
	}
	return quietPause - since
}

// What tells how copies are doing, and nothing of what the plane did or knows of its own.
var (
	quietOfUnits   = map[string]bool{"remoteStatus": true, "remoteStatusOmitted": true, "health": true, "healthMessage": true, "healthyRevision": true, "generation": true}
	quietOfSummary = map[string]bool{"healthy": true}
	compared       = map[string]bool{"clusters": true, "summary": true, "conditions": true}
)

// urgent tells whether two statuses differ in more than how the copies are doing.
func urgent(before, after map[string]any) bool {
	a, b := units(before), units(after)
	if !alike(before, after, compared) || len(a) != len(b) || !alike(part(before["summary"]), part(after["summary"]), quietOfSummary) {
		return true
	}
	for i := range a {
		if !alike(part(a[i]), part(b[i]), quietOfUnits) {
			return true
		}
	}
	return !equality.Semantic.DeepEqual(otherConditions(before), otherConditions(after))
}

func units(status map[string]any) []any {
	l, _ := status["clusters"].([]any)
	return l
}

func part(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// otherConditions are those that do not tell of health.
func otherConditions(status map[string]any) []any {
	all, _ := status["conditions"].([]any)
	var out []any
	for _, c := range all {
		if part(c)["type"] != report.Healthy {
			out = append(out, c)
		}
	}
	return out
}

// alike tells whether two objects are equal but for some fields.
func alike(a, b map[string]any, but map[string]bool) bool {
	for field, value := range a {
		if other, there := b[field]; !but[field] && (!there || !equality.Semantic.DeepEqual(value, other)) {
			return false
		}
	}
	for field := range b {
		if _, there := a[field]; !there && !but[field] {
			return false
		}
	}
	return true
}
