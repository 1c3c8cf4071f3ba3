package plan

import (
	"fmt"
	"sort"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/placement"
	"github.com/cellfed/cellfed/pkg/render"
)

// Compute decides about every unit that is placed, in the inventory, or marked as a copy's.
func Compute(in Input) Plan {
	c := &computation{in: in, units: make(map[string]*Unit, len(in.Units)), entries: map[string]federated.UnitStatus{}}
	for i := range in.Units {
		c.units[in.Units[i].Name] = &in.Units[i]
	}
	for _, e := range in.Object.Status.Units {
		c.entries[e.Name] = e
	}
	c.lens = render.NewLens(in.Target.GroupKind(), in.Policy, in.Object.RetainReplicas)
	c.choose()
	c.plan.Stopped = c.stopped()
	c.plan.Unsupported = c.unsupported()
	for _, name := range c.order() {
		c.plan.Steps = append(c.plan.Steps, c.decide(name))
	}
	c.before()
	return c.plan
}

type computation struct {
	in      Input
	units   map[string]*Unit
	entries map[string]federated.UnitStatus
	placed  placement.Selected
	mask    *placement.Selected // nil = no mask
	missing map[string]bool
	lens    render.Lens
	plan    Plan
}

// stopped is why the whole object stands still; nil = it does not. Deletion is never stopped by what the spec says, but
// by not knowing whose the object is.
func (c *computation) stopped() *Why {
	o := c.in.Object
	switch {
	case c.in.Unowned != nil:
		return c.in.Unowned
	case o.Deleting:
		return nil
	case c.in.Hold != nil:
		return c.in.Hold
	case len(o.Faults) > 0:
		return &Why{Code: CodeOnHold, Message: "the object cannot be read: " + o.Faults[0].String()}
	}
	return nil
}

func (c *computation) choose() {
	o := c.in.Object
	if o.Deleting || c.stopped() != nil {
		return
	}
	units := c.candidates()
	c.placed = placement.Resolve(o.Placement, units)
	c.narrow(units)
	if o.Mask != nil {
		mask := placement.Resolve(*o.Mask, units)
		c.mask = &mask
	}
}

// candidates are the units as selections see them.
func (c *computation) candidates() []placement.Unit {
	units := make([]placement.Unit, 0, len(c.in.Units))
	for i := range c.in.Units {
		units = append(units, placement.Unit{Name: c.in.Units[i].Name, Labels: c.in.Units[i].Labels})
	}
	return units
}

// order lists the units to decide about: the placement's order, then the inventory's, then those that only a mark in
// the member tells of.
func (c *computation) order() []string {
	var names []string
	seen := map[string]bool{}
	add := func(n string) {
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	for _, n := range c.placed.Names {
		add(n)
	}
	for _, e := range c.in.Object.Status.Units {
		if e.Inventory {
			add(e.Name)
		}
	}
	if c.in.Object.Deleting && c.in.Written {
		for _, n := range c.unrecorded() {
			add(n)
		}
	}
	var marked []string
	for i := range c.in.Units {
		u := &c.in.Units[i]
		if c.mine(u, u.Name) {
			marked = append(marked, u.Name)
		}
	}
	sort.Strings(marked)
	for _, n := range marked {
		add(n)
	}
	return names
}

// unrecorded are the units that a deletion must hear of although no record names them: status lost its entries (a
// restored object, another writer), something was once written, and the member cannot be asked for marks now.
func (c *computation) unrecorded() []string {
	var names []string
	for _, n := range placement.Resolve(c.in.Object.Placement, c.candidates()).Names {
		u := c.units[n]
		if _, told := c.entries[n]; !told && u != nil && (u.NotYours != nil || u.NotConnected != nil || u.Unreadable != nil || u.Loading) {
			names = append(names, n)
		}
	}
	return names
}

// mine tells whether what is observed in a unit is this object's copy for this unit. A managed object without any
// owner mark is taken for ours where we wrote before: somebody cut the mark off. A copy whose label says that it is not
// to be managed is not ours any more, whatever its owner mark says: the member has the last word.
func (c *computation) mine(u *Unit, name string) bool {
	if u == nil || u.Observed == nil || isUnmanaged(u.Observed) {
		return false
	}
	owner, marked := render.OwnerOf(u.Observed)
	if !marked {
		return c.entries[name].Revision != "" && isManaged(u.Observed)
	}
	return owner.UID == c.in.Object.UID && owner.Plane == c.in.Plane && owner.Unit == name
}

// subject is one unit under decision.
type subject struct {
	name     string
	unit     *Unit
	entry    federated.UnitStatus
	recorded bool
	placed   bool
	writable bool
	mine     bool
	// retainReplicas: whether the unit's replicas are its member's.
	retainReplicas bool
	step           *Step
}

// question settles a unit (true), or passes it on.
type question func(*computation, *subject) bool

var (
	// placedQuestions are put to a unit of the placement.
	placedQuestions = []question{objectStopped, notYours, unitUnknown, unitAbandoned, unitRemade, unitNotReady, namespaceAbsent,
		writeUnderWay, memberNotConnected, memberUnreadable, copyTerminating, notOurs, heldUnit, writableUnit}
	// leftQuestions are put to a unit that is not, or no longer, in the placement.
	leftQuestions = []question{objectStopped, copyAbandoned, notYours, unitUnknown, unitRemade, outsideMask, writeUnderWay,
		memberNotConnected, memberUnreadable, copyTerminating, occupied, removal}
)

func (c *computation) decide(name string) Step {
	s := &subject{name: name, unit: c.units[name], placed: c.placed.Has(name)}
	s.entry = c.entries[name]
	s.recorded = s.entry.Inventory
	s.mine = c.mine(s.unit, name)
	s.writable = c.in.Object.Deleting || c.mask == nil || c.mask.Has(name)
	step := Step{Unit: name, Name: c.in.Object.Name, Placed: s.placed, Held: !s.writable, Revision: s.entry.Revision}
	if s.unit != nil {
		step.Member, step.MemberNamespace, step.Observed = s.unit.Member, s.unit.MemberNamespace, s.unit.Observed
		step.MemberID = s.unit.MemberID
		if s.unit.CopyName != "" {
			step.Name = s.unit.CopyName
		}
		if c.in.TargetNamespaced {
			step.Namespace = s.unit.MemberNamespace
		}
	}
	step.Lens = c.lens
	s.step, s.retainReplicas = &step, c.in.Object.RetainReplicas
	c.heldReplicas(s)
	questions := leftQuestions
	if s.placed {
		questions = placedQuestions
		if want, err := c.in.Object.ContentFor(name).Revision(); err == nil {
			step.Want = want
		}
	}
	for _, ask := range questions {
		if ask(c, s) {
			step.Behind = c.behind(s)
			return step
		}
	}
	panic("plan: the last question settles every unit")
}

func (s *subject) settle(a Action, code, format string, args ...any) bool {
	s.step.Action = a
	s.step.Why = Why{Code: code, Message: fmt.Sprintf(format, args...)}
	return true
}

// objectStopped leaves everything as it is, also what was said of the mask: a mask that cannot be read releases nobody.
func objectStopped(c *computation, s *subject) bool {
	why := c.stopped()
	if why == nil {
		return false
	}
	s.step.Held = s.entry.Held
	return s.settle(Hold, why.Code, "%s", why.Message)
}

func unitUnknown(c *computation, s *subject) bool {
	if s.unit != nil {
		return false
	}
	if s.recorded {
		return s.settle(Hold, CodeUnknownUnit, "%s is not there, and may hold a copy: nothing is done on doubt", s.name)
	}
	return s.settle(Hold, CodeUnknownUnit, "there is no %s of type %s", s.name, c.in.Object.TopologyType)
}

// unitRemade stops before another place of the same name: what is said there proves nothing about the copy.
func unitRemade(_ *computation, s *subject) bool {
	e := s.entry
	switch {
	case !s.recorded || e.Cluster == "" || !s.step.Elsewhere(e):
	case e.Cluster != s.unit.Member || e.MemberNamespace != s.unit.MemberNamespace:
		return s.settle(Hold, CodeUnitRemade, "%s was made anew in member %s (namespace %s), and may hold a copy where it was before: member %s (namespace %s); "+
			"nothing is done on doubt: kubectl cellfed abandon gives the former place up", s.name, s.unit.Member, s.unit.MemberNamespace, e.Cluster, e.MemberNamespace)
	default:
		return s.settle(Hold, CodeMemberChanged, "member %s is another cluster now (%s) than the one that may hold a copy (%s); "+
			"nothing is done on doubt: kubectl cellfed abandon gives the former cluster up", e.Cluster, s.unit.MemberID, e.ClusterID)
	}
	return false
}

func unitNotReady(_ *computation, s *subject) bool {
	p := s.unit.Problem
	return p != nil && s.settle(Hold, p.Code, "%s", p.Message)
}

func writeUnderWay(_ *computation, s *subject) bool {
	return s.unit.InFlight && s.settle(Wait, CodePending, "member %s has not answered a write that is under way", s.unit.Member)
}

func memberNotConnected(_ *computation, s *subject) bool {
	p := s.unit.NotConnected
	return p != nil && s.settle(Wait, p.Code, "%s", p.Message)
}

// memberUnreadable waits while nobody knows what is in the member. While it is only being read, status stays as it was:
// a restart of the plane is no news.
func memberUnreadable(_ *computation, s *subject) bool {
	if s.unit.Loading {
		known := s.entry.Code != "" || !s.writable || s.placed && s.entry.Revision == s.step.Want
		if s.entry.Name != "" && known {
			return s.settle(Wait, s.entry.Code, "%s", s.entry.Message)
		}
		return s.settle(Wait, CodePending, "reading what is in member %s", s.unit.Member)
	}
	p := s.unit.Unreadable
	return p != nil && s.settle(Wait, p.Code, "%s", p.Message)
}

// waitOrProbe looks again at an old sight of what no watch shows, before it is believed any longer.
func (s *subject) waitOrProbe(otherwise Action) Action {
	if s.unit.Probe && s.unit.Failure == nil {
		return Confirm
	}
	return otherwise
}

func copyTerminating(_ *computation, s *subject) bool {
	if s.unit.Observed == nil || s.unit.Observed.GetDeletionTimestamp() == nil {
		return false
	}
	action := s.waitOrProbe(Wait)
	if s.placed {
		return s.settle(action, CodeWaitingForRemoval, "member %s is still deleting the object; it is made again afterwards", s.unit.Member)
	}
	if !s.mine {
		return false
	}
	return s.settle(action, CodeWaitingForRemoval, "member %s is still deleting the object", s.unit.Member)
}

func notOurs(c *computation, s *subject) bool {
	if s.unit.Observed == nil || s.mine {
		return false
	}
	// An old sight is looked at again before it is believed. Meanwhile status says what it said: looking is no news.
	action := s.waitOrProbe(Hold)
	owner, _ := render.OwnerOf(s.unit.Observed)
	switch {
	case owner.Plane == c.in.Plane && owner.Unit != "" && owner.Unit != s.name:
		return s.settle(action, CodeAlreadyExists, "what is in member %s is the copy of %s: two units' copies cannot be one object", s.unit.Member, c.told(owner.Unit))
	case isUnmanaged(s.unit.Observed):
		return s.settle(action, CodeManagedLabelFalse, "the member's object says that it is not to be managed (label kubefed.io/managed: \"false\")")
	case c.madeFor(s):
		return false // the plane made the namespace because a copy needed it: its federated object takes it over
	case !c.in.Object.Adopt && !c.in.AdoptByDefault:
		return s.settle(action, CodeAlreadyExists, "member %s has an object of this name that this federated object did not make; "+
			"annotate the federated object with cellfed.io/adopt: \"true\" to take it over", s.unit.Member)
	case s.entry.Revision != "" && c.anotherPlanes(owner):
		// Two planes that both adopt would take the object from each other for ever.
		return s.settle(action, CodeAlreadyExists, "another plane (%s) has taken over the copy in member %s; "+
			"to adopt it again, take %s out of the placement and put it back", owner.Plane, s.unit.Member, s.name)
	}
	return false
}

// anotherPlanes tells whether a mark is of another plane. One that has this object's UID is of this plane before its
// identity was made anew.
func (c *computation) anotherPlanes(owner federated.Owner) bool {
	return owner.Plane != "" && owner.Plane != c.in.Plane && owner.UID != c.in.Object.UID
}

func outsideMask(_ *computation, s *subject) bool {
	return !s.writable && s.settle(Hold, CodeWaitingForMask, "left the placement; the copy is removed when the mask admits the unit")
}

// removal ends a unit's part in the object. An entry falls only when the member itself said that nothing is there.
func removal(c *computation, s *subject) bool {
	observed := s.unit.Observed
	switch {
	case observed != nil && !s.mine && s.unit.Probe && s.unit.Failure == nil:
		return s.settle(Confirm, CodeWaitingForRemoval, "looking whether the object that the plane did not make is still there")
	case observed != nil && !s.mine:
		return s.settle(Drop, "", "what is in the member is not this object's")
	case s.unit.Failure != nil && s.unit.Failure.Revision == "":
		return s.settle(Wait, s.unit.Failure.Code, "%s", s.unit.Failure.Message)
	case observed == nil:
		return s.settle(Confirm, CodeWaitingForRemoval, "asking the member whether the copy is gone")
	case c.in.Object.Deleting && c.in.Object.Orphan:
		return s.settle(Orphan, "", "left behind, as %s asks", "kubefed.io/orphan")
	}
	return c.remove(s)
}

// before gathers what must be durable before the first write.
func (c *computation) before() {
	p := &c.plan
	for r := range c.missing {
		p.Missing = append(p.Missing, r)
	}
	sort.Strings(p.Missing)
	for i := range p.Steps {
		s := &p.Steps[i]
		writes := s.Action == Create || s.Action == Update
		if s.Placed && s.Revision != "" && s.Revision == s.Want && (writes || s.Action == Keep) {
			if p.Record == nil {
				p.Record = map[string]federated.Content{}
			}
			p.Record[s.Want] = c.in.Object.ContentFor(s.Unit)
		}
		if inventory := c.entries[s.Unit].Inventory || s.Action == Keep; writes || inventory {
			p.AddFinalizer = p.AddFinalizer || !c.in.Object.HasFinalizer && !c.in.Object.Deleting
		}
		if !writes {
			continue
		}
		if !c.entries[s.Unit].Inventory {
			p.Intent = append(p.Intent, s.Unit)
		}
	}
}
