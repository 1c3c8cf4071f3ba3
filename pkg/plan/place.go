package plan

import (
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/placement"
	"github.com/cellfed/cellfed/pkg/render"
	"github.com/cellfed/cellfed/pkg/topology"
)

// narrow takes out of the placement what the namespace does not admit (KubeFed's placement.go: namespaced objects are
// placed within the placement of their FederatedNamespace). Only a FederatedNamespace that is there narrows anything:
// that it is missing is no wish of anybody's. One that is being deleted, cannot be read, or says nothing of a placement (an
// empty list says something) freezes the placement: nothing new comes, and what is there stays until its own object says
// otherwise. So does one whose mask keeps a unit as it is, but
// that where the namespace is, there is room: an edit that the mask keeps away from a unit removes no copy there either.
func (c *computation) narrow(units []placement.Unit) {
	ns := c.in.NamespaceObject
	if ns == nil || ns.TopologyType != c.in.Object.TopologyType {
		return
	}
	admitted := placement.Resolve(ns.Placement, units)
	var mask placement.Selected
	if ns.Mask != nil {
		mask = placement.Resolve(*ns.Mask, units)
	}
	c.placed = c.placed.Filter(func(name string) bool {
		switch there := c.entries[name].Inventory || c.mine(c.units[name], name); {
		case ns.Deleting || len(ns.Faults) > 0 || !ns.Placement.Named && ns.Placement.Selector == nil:
			return there
		case ns.Mask != nil && !mask.Has(name):
			kept, _ := ns.Status.Unit(name)
			return there || kept.Inventory
		}
		return admitted.Has(name)
	})
}

// namespaceAbsent is KubeFed's strict rule, without its deletions: what is there is kept, and nothing new is placed.
func namespaceAbsent(c *computation, s *subject) bool {
	return c.in.StrictNamespaces && c.in.NamespaceObject == nil && !s.recorded && s.settle(Hold, CodeNamespaceNotFederated,
		"namespace %s has no FederatedNamespace, and KubeFedConfig asks for one: nothing is placed anew", c.in.Object.Namespace)
}

// occupied keeps a namespace for as long as other copies live in it.
func occupied(_ *computation, s *subject) bool {
	o := s.unit.Occupied
	return o != nil && s.mine && s.settle(Wait, o.Code, "%s", o.Message)
}

// madeFor tells whether what is observed is the namespace that the plane made for this very unit, because a copy needed
// it, and that nobody has marked since.
func (c *computation) madeFor(s *subject) bool {
	if s.unit.CopyName == "" {
		return false
	}
	if _, marked := render.OwnerOf(s.unit.Observed); marked {
		return false
	}
	maker, ok := federated.ReadOwner(s.unit.Observed.GetAnnotations()[wellknown.MadeForAnnotation])
	return ok && maker.Plane == c.in.Plane && maker.Unit == s.name
}

// remove deletes the copy; when its federated object is being deleted, with the options that it asks for (KubeFed's
// rule). Options that cannot be read stop no deletion: they may have been there before anybody refused them.
func (c *computation) remove(s *subject) bool {
	raw := c.in.Object.DeleteOptions
	if !c.in.Object.Deleting || raw == "" {
		return s.settle(Delete, CodeWaitingForRemoval, "the copy is being removed")
	}
	if _, err := federated.ReadDeleteOptions(raw); err != nil {
		return s.settle(Delete, CodeWaitingForRemoval, "the copy is being removed, with default options: annotation %s cannot be read: %v",
			wellknown.DeleteOptionAnnotation, err)
	}
	s.step.DeleteOptions = raw
	return s.settle(Delete, CodeWaitingForRemoval, "the copy is being removed")
}

// notYours comes before everything that is known of a unit: about one of another tenant nothing is known.
func notYours(_ *computation, s *subject) bool {
	if s.unit == nil || s.unit.NotYours == nil {
		return false
	}
	return s.settle(Hold, s.unit.NotYours.Code, "%s", s.unit.NotYours.Message)
}

// told names a unit of the object's own namespace, and no other: who else uses a member is nobody's business.
func (c *computation) told(unit string) string {
	if _, namespace, _, ok := topology.ParseUnitClusterName(unit); ok && namespace == c.in.Object.Namespace {
		return unit
	}
	return "another federated object"
}

// unitAbandoned stands before a placed unit whose place was given up. A copy that was recorded where the unit is no
// longer is forgotten with that place, and the unit starts anew where it is.
func unitAbandoned(c *computation, s *subject) bool {
	if a, given := c.abandoned(s.name, s.unit.Member, s.unit.MemberID, s.unit.MemberNamespace); given {
		return s.settle(Hold, CodeAbandoned, "%s", a.told())
	}
	if _, given := c.abandonedCopy(s); given && s.recorded && s.step.Elsewhere(s.entry) {
		delete(c.entries, s.name)
		s.recorded, s.entry, s.step.Revision = false, federated.UnitStatus{}, ""
		s.mine = c.mine(s.unit, s.name)
	}
	return false
}

// copyAbandoned ends the part of a unit whose copy was given up: nobody waits for it any longer.
func copyAbandoned(c *computation, s *subject) bool {
	a, given := c.abandonedCopy(s)
	return given && s.writable && s.settle(Drop, "", "%s", a.told())
}

// Elsewhere tells whether the unit is now at another place than a recorded copy.
func (s *Step) Elsewhere(e federated.UnitStatus) bool {
	return e.Cluster != s.Member || e.MemberNamespace != s.MemberNamespace || e.ClusterID != "" && s.MemberID != "" && e.ClusterID != s.MemberID
}

// abandonedCopy tells whether the place of the recorded copy was given up; for records that do not say the place, the
// unit's place now.
func (c *computation) abandonedCopy(s *subject) (Abandonment, bool) {
	switch {
	case s.entry.Cluster != "":
		return c.abandoned(s.name, s.entry.Cluster, s.entry.ClusterID, s.entry.MemberNamespace)
	case s.unit != nil:
		return c.abandoned(s.name, s.unit.Member, s.unit.MemberID, s.unit.MemberNamespace)
	case c.in.Object.TopologyType == topology.TypeCluster:
		return c.abandoned(s.name, s.name, "", "")
	}
	return Abandonment{}, false
}

func (c *computation) abandoned(unit, cluster, id, namespace string) (Abandonment, bool) {
	for _, a := range c.in.Abandonments {
		if a.Covers(unit, cluster, id, namespace) {
			return a, true
		}
	}
	return Abandonment{}, false
}

// Covers tells whether a unit's copy in a namespace of a cluster was given up. An identity or a namespace that is not
// known on one side is no difference.
func (a Abandonment) Covers(unit, cluster, id, namespace string) bool {
	either := func(given, here string) bool { return given == "" || here == "" || given == here }
	return a.Cluster == cluster && (a.Unit == "" || a.Unit == unit) && either(a.ClusterID, id) && either(a.MemberNamespace, namespace)
}

func (a Abandonment) told() string {
	what := "member " + a.Cluster
	if a.Unit != "" {
		what = a.Unit + " in member " + a.Cluster
	}
	if a.Reason != "" {
		return what + " was given up: " + a.Reason
	}
	return what + " was given up"
}

// behind counts the releases that a unit has missed: templates that the object asked for after the one that the unit
// runs. Revisions that differ only in overrides are one release. History is pruned, so the count may be too low for a
// unit that is very far behind.
//
// A unit that is about to be written runs what is recorded until the write is confirmed. If that came to nothing and it was
// told to be up to date meanwhile, the next look would tell otherwise, in a status write of its own.
func (c *computation) behind(s *subject) int64 {
	runs := s.step.Revision
	if s.step.Action.Writes() && runs == s.step.Want {
		runs = s.entry.Revision
	}
	if !s.placed || s.step.Want == "" || runs == "" || runs == s.step.Want {
		return 0
	}
	var mine *Release
	for i := range c.in.History {
		if c.in.History[i].Revision == runs {
			mine = &c.in.History[i]
		}
	}
	if mine == nil {
		return 1
	}
	newer := map[string]bool{}
	for _, r := range c.in.History {
		if r.Generation > mine.Generation && r.Template != mine.Template {
			newer[r.Template] = true
		}
	}
	return max(1, int64(len(newer)))
}
