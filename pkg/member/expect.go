package member

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Expectation is what the plane expects to find of a kind in members. A member that gives something else, or much more,
// is not believed.
type Expectation struct {
	// Kind is the objects' kind; "" = not known.
	Kind string
	// Namespaced tells whether they live in namespaces.
	Namespaced bool
	// Weight is how much memory (see Weigh) the plane's objects of this kind may take in a member; nil = nothing is
	// known of it. It is called often, and must be cheap.
	Weight func(member string) int64
}

// Expect says what to expect of a kind, before its first view. The last word counts.
func (f *Fleet) Expect(gvr schema.GroupVersionResource, e Expectation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected[gvr] = e
}

func (v *View) expectation() Expectation {
	f := v.member.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expected[v.gvr]
}

func (v *View) expectedWeight() int64 {
	if e := v.expectation(); e.Weight != nil {
		return e.Weight(v.member.name)
	}
	return 0
}

// allowance is how much memory the view's objects may take: what is expected of the kind, and what the member's other
// views leave of what it may have beyond that.
func (v *View) allowance(own int64) int64 {
	room := v.member.opts.MemoryPerMember
	least := room / 16
	if own <= least { // far from any bound: nothing need be counted
		return least
	}
	for _, other := range v.member.allViews() {
		if other == v {
			continue
		}
		other.mu.RLock()
		weight := other.weight + other.pending.Load()
		other.mu.RUnlock()
		if weight > 0 {
			room -= max(0, weight-other.expectedWeight())
		}
	}
	return v.expectedWeight() + max(room, least)
}

func (m *Member) allViews() []*View {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*View, 0, len(m.views))
	for _, v := range m.views {
		out = append(out, v)
	}
	return out
}
