package plan

import (
	"errors"
	"strings"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/render"
)

// unconfirmed stands before the version of a copy in a held unit that the plane wrote but whose write was never
// recorded, or was recorded under another policy, which says nothing under this one. Somebody may have edited it since, and nobody can tell: held, it is kept as it was found; writable, it is
// written once more.
const unconfirmed = "unconfirmed-"

// heldUnit is law 7 outside the mask: no write but the repair of the unit's own revision.
func heldUnit(c *computation, s *subject) bool {
	if s.writable {
		return false
	}
	observed := s.unit.Observed
	if !s.mine && observed != nil {
		return s.settle(Hold, CodeAlreadyExists, "the object in the member is taken over when the mask admits the unit")
	}
	revision, fresh, settled := c.runs(s)
	if settled {
		return true
	}
	s.step.Revision = revision
	if revision == "" {
		return s.settle(Hold, "", "not placed yet: waiting for the mask")
	}
	if observed != nil {
		v := c.version(s, revision)
		switch {
		case fresh, s.otherPolicy(s.entry.Version):
			s.step.Version = unconfirmed + v
		default:
			s.step.Version = s.entry.Version
		}
		if s.unit.confirmed(revision, v) {
			s.step.Version = v
		}
		if s.step.Version == v || s.step.Version == unconfirmed+v {
			return s.settle(Keep, "", "held at revision %s by the mask", revision)
		}
		s.step.Version = v
	}
	if f := s.unit.Failure; f != nil && f.Revision == revision {
		return s.settle(Wait, f.Code, "%s", f.Message)
	}
	content := c.content(revision, s)
	if content == nil {
		return s.settle(Hold, CodeRevisionMissing, "the copy is not as it was at revision %s, whose content is not kept any more", revision)
	}
	return c.write(s, revision, *content, "repaired towards its own revision %s, at which the mask holds it", revision)
}

// runs is the revision that a unit runs. The mark in the member was written together with the content, so it knows
// better than status, which is written afterwards; it is believed only if such a revision was ever made. fresh says
// that the mark knew better, so that nobody knows which version was written.
func (c *computation) runs(s *subject) (revision string, fresh, settled bool) {
	recorded := s.entry.Revision
	if !s.mine {
		return recorded, false, false
	}
	owner, marked := render.OwnerOf(s.unit.Observed)
	if !marked || owner.Revision == "" || owner.Revision == recorded {
		return recorded, marked && s.entry.Version == "", false
	}
	if owner.Revision != s.step.Want {
		if content, known := c.in.Contents[owner.Revision]; !known {
			c.miss(owner.Revision)
			return "", false, s.settle(Hold, CodeOnHold, "looking up revision %s", owner.Revision)
		} else if content == nil {
			return recorded, false, false
		}
	}
	return owner.Revision, true, false
}

func (c *computation) content(revision string, s *subject) *federated.Content {
	if revision == s.step.Want {
		content := c.in.Object.ContentFor(s.name)
		return &content
	}
	content, known := c.in.Contents[revision]
	if !known {
		c.miss(revision)
	}
	return content
}

func (c *computation) miss(revision string) {
	if c.missing == nil {
		c.missing = map[string]bool{}
	}
	c.missing[revision] = true
}

func writableUnit(c *computation, s *subject) bool {
	want := s.step.Want
	if s.mine {
		s.step.Version = c.version(s, want)
		owner, _ := render.OwnerOf(s.unit.Observed)
		recorded := s.entry.Revision == want && s.entry.Version == s.step.Version
		if owner.Revision == want && (recorded || s.unit.confirmed(want, s.step.Version)) {
			s.step.Revision = want
			return s.settle(Keep, "", "")
		}
	}
	if f := s.unit.Failure; f != nil && f.Revision == want {
		return s.settle(Wait, f.Code, "%s", f.Message)
	}
	return c.write(s, want, c.in.Object.ContentFor(s.name), "")
}

// confirmed tells whether the member confirmed a version of a revision.
func (u *Unit) confirmed(revision, version string) bool {
	return u.Confirmed != nil && version != "" && *u.Confirmed == Confirmed{Revision: revision, Version: version}
}

// rendering is what a unit's object is made from.
func (c *computation) rendering(s *subject, revision string, content federated.Content) render.Input {
	return render.Input{
		Target: c.in.Target, Name: s.step.Name, Namespace: s.step.Namespace, Content: content,
		Owner:    federated.Owner{Plane: c.in.Plane, UID: c.in.Object.UID, Unit: s.name, Revision: revision},
		Observed: s.unit.Observed, RetainReplicas: s.retainReplicas, Policy: c.in.Policy,
	}
}

// write settles a unit with the write of a content, or with why it cannot be made.
func (c *computation) write(s *subject, revision string, content federated.Content, note string, args ...any) bool {
	in := c.rendering(s, revision, content)
	desired, err := render.Desired(in)
	switch {
	case errors.Is(err, render.ErrOverrides):
		return s.settle(Hold, CodeApplyOverridesFailed, "%v", err)
	case err != nil:
		return s.settle(Hold, CodeComputeResourceFailed, "%v", err)
	}
	c.look(s, in)
	recorded, repairs := c.repairs(s, revision)
	if repairs && c.contested(s, revision) {
		return true
	}
	s.step.Object, s.step.Revision = desired, revision
	s.step.Render, s.step.Repairs, s.step.Recorded = &in, repairs, recorded
	action := Create
	if s.unit.Observed != nil {
		action = Update
	}
	return s.settle(action, "", note, args...)
}

// look makes the step's lens one that knows what was asked for, where that matters.
func (c *computation) look(s *subject, in render.Input) {
	if s.step.Lens.NeedsAsked() {
		s.step.Lens = s.step.Lens.Asking(in)
	}
}

// version is what the unit's copy holds, looked at as a copy of a revision.
func (c *computation) version(s *subject, revision string) string {
	if s.step.Lens.NeedsAsked() {
		if content := c.content(revision, s); content != nil {
			c.look(s, c.rendering(s, revision, *content))
		}
	}
	v, err := s.step.Lens.Version(s.unit.Observed)
	if err != nil {
		return ""
	}
	return v
}

// otherPolicy tells whether a version was taken under another policy than the one that is in force now.
func (s *subject) otherPolicy(version string) bool {
	return version != "" && policyOf(version) != s.step.Lens.ID()
}

func policyOf(version string) string {
	return render.PolicyOf(strings.TrimPrefix(version, unconfirmed))
}

// heldReplicas has a held unit's replicas be whose they were when its copy was last confirmed: that the object leaves them
// to the members, or does so no longer, is an edit like any other, which reaches a unit when the mask does.
func (c *computation) heldReplicas(s *subject) {
	if s.writable || s.entry.Version == "" || !s.otherPolicy(s.entry.Version) {
		return
	}
	before := render.NewLens(c.in.Target.GroupKind(), c.in.Policy, !s.retainReplicas)
	if policyOf(s.entry.Version) == before.ID() {
		s.step.Lens, s.retainReplicas = before, !s.retainReplicas
	}
}

// repairs tells whether the copy held the revision, as the member confirmed it, and somebody changed it since; and the
// version that was confirmed.
func (c *computation) repairs(s *subject, revision string) (recorded string, is bool) {
	recorded = s.entry.Version
	if k := s.unit.Confirmed; k != nil && k.Revision == revision {
		recorded = k.Version
	} else if s.entry.Revision != revision || strings.HasPrefix(recorded, unconfirmed) {
		return recorded, false
	}
	if !s.mine || recorded == "" || s.otherPolicy(recorded) {
		return recorded, false
	}
	owner, marked := render.OwnerOf(s.unit.Observed)
	return recorded, !marked || owner.Revision == revision
}
