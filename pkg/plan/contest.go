package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/render"
)

// Contest is somebody in a member who keeps changing what is asked for.
type Contest struct {
	// Subject names what was fought over; see Step.Subject.
	Subject string
	// Fields are what they keep changing.
	Fields []string
}

// Subject names the content of a step: a revision, under a policy. When it changes, all fights are over.
func (s *Step) Subject() string { return s.Revision + "/" + s.Lens.ID() }

// contested stops before another round of a fight that cannot be won. It goes on for as long as the member's value is
// another one: when it is ours again there is nothing to repair, and nobody comes here.
func (c *computation) contested(s *subject, revision string) bool {
	k := s.unit.Contest
	if k == nil || k.Subject != (&Step{Revision: revision, Lens: s.step.Lens}).Subject() {
		return false
	}
	return s.settle(Wait, CodeContested, "somebody in member %s keeps changing %s: written again only after a long pause, or with the next revision; "+
		"stop them there, or leave the field to the member", s.unit.Member, strings.Join(k.Fields, ", "))
}

// Rebase is the patch that still brings about what the step was to, in a copy that somebody changed meanwhile; false =
// the copy is to be looked at anew.
func (s *Step) Rebase(fresh *unstructured.Unstructured) ([]render.Op, bool, error) {
	if s.Render == nil {
		return nil, false, nil
	}
	if s.Repairs { // perhaps they put it back themselves
		if v, err := s.Lens.Version(fresh); err != nil || v == s.Recorded {
			return nil, false, err
		}
	}
	return render.Rebase(*s.Render, fresh)
}

// Reasons of what a template says in vain (KubeFed's event reasons).
const (
	AnnotationsNotSupported = "AnnotationsNotSupported"
	FinalizersNotSupported  = "FinalizersNotSupported"
)

// unsupported is what the template says in vain.
func (c *computation) unsupported() []Why {
	if c.in.Object.Deleting || c.plan.Stopped != nil {
		return nil
	}
	metadata, _ := c.in.Object.Template["metadata"].(map[string]any)
	var out []Why
	annotations, _ := metadata["annotations"].(map[string]any)
	var lost []string
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		if !c.in.Policy.Annotations.Matches(k) {
			lost = append(lost, k)
		}
	}
	if n := len(lost); n > 0 {
		const told = 5
		more := ""
		if n > told {
			lost, more = lost[:told], fmt.Sprintf(" and %d more", n-told)
		}
		out = append(out, Why{AnnotationsNotSupported, fmt.Sprintf("annotations of the template are not written to members unless the "+
			"FederatedTypeConfig lists them in spec.propagatingAnnotations: %s%s", strings.Join(lost, ", "), more)})
	}
	if finalizers, _ := metadata["finalizers"].([]any); len(finalizers) > 0 {
		out = append(out, Why{FinalizersNotSupported, "finalizers of the template are not written to members: leave them out"})
	}
	return out
}
