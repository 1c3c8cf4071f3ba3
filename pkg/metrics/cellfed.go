package metrics

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cellfed/cellfed/pkg/features"
)

// CellFed's own metrics.
var (
	objects = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cellfed_federated_objects", Help: "Federated objects by type and state: as_asked, not_as_asked, on_hold, deleting.",
	}, []string{"type", "state"})
	units = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cellfed_units", Help: "Units in the status of federated objects, by type and code; OK = no code.",
	}, []string{"type", "code"})
	heldUnits = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cellfed_held_units", Help: "Units that a mask keeps at the revision that they have, by type.",
	}, []string{"type"})
	behindUnits = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cellfed_behind_units", Help: "Units that have missed at least one release, by type.",
	}, []string{"type"})
	propagationTime = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "cellfed_propagation_duration_seconds", Help: "How long it takes from a change of a federated object to every writable unit being as asked.",
		Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	}, []string{"type"})
	waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cellfed_oldest_unpropagated_seconds", Help: "For how long the federated object has been waiting that has waited longest for its writable units to be as asked, by type; 0 = none waits.",
	}, []string{"type"})
	memberWrites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cellfed_member_writes_total", Help: "Writes to members, by member, action and what came of them.",
	}, []string{"member", "action", "result"})
	leader = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cellfed_leader", Help: "Whether this server's controllers are the ones that run: 1 = yes, 0 = another server's are.",
	})
	gatesOn = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cellfed_feature_enabled", Help: "Feature gates: 1 = on, 0 = off.",
	}, []string{"name", "stage"})
)

// Leading tells whether the controllers run here.
func Leading(yes bool) {
	value := 0.0
	if yes {
		value = 1
	}
	leader.Set(value)
}

// Gates tells which feature gates are on.
func Gates(g features.Gates) {
	for _, s := range features.All() {
		value := 0.0
		if g.Enabled(s.Gate) {
			value = 1
		}
		gatesOn.WithLabelValues(string(s.Gate), string(s.Stage)).Set(value)
	}
}

// Written tells of a write to a member. Taking the plane's marks off a copy is an update to KubeFed.
func Written(member, action, result string, took time.Duration) {
	memberWrites.WithLabelValues(member, action, result).Inc()
	if action == "orphan" {
		action = "update"
	}
	dispatchDuration.WithLabelValues(action).Observe(took.Seconds())
}

// ObjectState is how a federated object is.
type ObjectState string

// States of federated objects.
const (
	AsAsked    ObjectState = "as_asked"
	NotAsAsked ObjectState = "not_as_asked"
	OnHold     ObjectState = "on_hold"
	Deleting   ObjectState = "deleting"
)

// Object is what is counted of one federated object.
type Object struct {
	State ObjectState
	// Units by code; "" = none.
	Units map[string]int
	// Held and Behind are how many units are so.
	Held, Behind int
}

// Type counts the federated objects of one type. What each object added is remembered, so that nothing is listed to
// count.
type Type struct {
	name string
	now  func() time.Time

	mu      sync.Mutex
	objects map[string]Object
	since   map[string]time.Time // objects that are not as asked yet
	total   Object
	states  map[ObjectState]int
}

// NewType begins to count for a type.
func NewType(name string, now func() time.Time) *Type {
	t := &Type{name: name, now: now, objects: map[string]Object{}, since: map[string]time.Time{},
		total: Object{Units: map[string]int{}}, states: map[ObjectState]int{}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish(Object{State: AsAsked, Units: map[string]int{"": 0}}, Object{})
	for _, s := range []ObjectState{AsAsked, NotAsAsked, OnHold, Deleting} {
		objects.WithLabelValues(name, string(s)).Set(0)
	}
	oldest.add(t)
	return t
}

// Changed tells that an object was changed and is not as asked yet.
func (t *Type) Changed(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, waits := t.since[key]; !waits {
		t.since[key] = t.now()
	}
}

// Set tells how an object is now.
func (t *Type) Set(key string, o Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.objects[key]
	if known {
		t.states[before.State]--
	}
	t.states[o.State]++
	t.objects[key] = o
	t.count(before, -1)
	t.count(o, 1)
	t.publish(o, before)
	if since, waits := t.since[key]; waits && o.State == AsAsked {
		propagationTime.WithLabelValues(t.name).Observe(t.now().Sub(since).Seconds())
		delete(t.since, key)
	}
}

// Forget tells that an object is gone.
func (t *Type) Forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.since, key)
	before, known := t.objects[key]
	if !known {
		return
	}
	delete(t.objects, key)
	t.states[before.State]--
	t.count(before, -1)
	t.publish(before, Object{})
}

// End drops what is told of the type.
func (t *Type) End() {
	oldest.remove(t)
	of := prometheus.Labels{"type": t.name}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{objects, units, heldUnits, behindUnits, propagationTime, waiting} {
		v.DeletePartialMatch(of)
	}
}

func (t *Type) count(o Object, sign int) {
	t.total.Held += sign * o.Held
	t.total.Behind += sign * o.Behind
	for code, n := range o.Units {
		t.total.Units[code] += sign * n
	}
}

// publish shows the totals that two states of an object concern.
func (t *Type) publish(now, before Object) {
	for _, s := range []ObjectState{now.State, before.State} {
		if s != "" {
			objects.WithLabelValues(t.name, string(s)).Set(float64(t.states[s]))
		}
	}
	codes := maps.Clone(now.Units)
	if codes == nil {
		codes = map[string]int{}
	}
	maps.Copy(codes, before.Units)
	for code := range codes {
		units.WithLabelValues(t.name, label(code)).Set(float64(t.total.Units[code]))
	}
	heldUnits.WithLabelValues(t.name).Set(float64(t.total.Held))
	behindUnits.WithLabelValues(t.name).Set(float64(t.total.Behind))
}

// oldestWait is for how long the object has waited that has waited longest.
func (t *Type) oldestWait() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var longest time.Duration
	now := t.now()
	for _, since := range t.since {
		longest = max(longest, now.Sub(since))
	}
	return longest
}

func label(code string) string {
	if code == "" {
		return "OK"
	}
	return code
}

// ages shows, when it is asked, for how long objects have been waiting.
type ages struct {
	mu    sync.Mutex
	types map[*Type]bool
}

var oldest = &ages{types: map[*Type]bool{}}

func (a *ages) add(t *Type) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.types[t] = true
}

func (a *ages) remove(t *Type) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.types, t)
}

// Describe implements prometheus.Collector.
func (a *ages) Describe(out chan<- *prometheus.Desc) { waiting.Describe(out) }

// Collect implements prometheus.Collector.
func (a *ages) Collect(out chan<- prometheus.Metric) {
	a.mu.Lock()
	for t := range a.types {
		waiting.WithLabelValues(t.name).Set(t.oldestWait().Seconds())
	}
	a.mu.Unlock()
	waiting.Collect(out)
}
