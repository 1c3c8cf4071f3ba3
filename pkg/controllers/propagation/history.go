package propagation

import (
	"context"
	"slices"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// withHistory computes once more with the object's history where a unit is behind, so that status can say how far.
func (k *carrier) withHistory(ctx context.Context, in plan.Input, p plan.Plan) (plan.Plan, error) {
	if !slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return staysBehind(in.Object, &s) }) {
		return p, nil
	}
	all, err := k.revisions(ctx, in.Object)
	if err != nil {
		return plan.Plan{}, err
	}
	if in.History, err = k.history(all, in.Object, &p); err != nil {
		return plan.Plan{}, err
	}
	return plan.Compute(in), nil
}

// staysBehind tells whether a unit that is behind is likely to be so when the plan has been carried out. One that has been
// up to date so far, and is about to be written, is behind by this one release if the write fails: no history is needed.
func staysBehind(o *federated.Object, s *plan.Step) bool {
	if s.Behind == 0 || !s.Action.Writes() {
		return s.Behind > 0
	}
	before, _ := o.Status.Unit(s.Unit)
	return before.Code != "" || before.Behind > 0
}

// history is the object's releases as they will be told when the plan is recorded and what is too old is pruned, oldest
// first. It must not depend on what the cache shows already: the look after a release would count anew how far a unit is
// behind, and write all of the object's status for it.
func (k *carrier) history(all []metav1.PartialObjectMetadata, o *federated.Object, p *plan.Plan) ([]plan.Release, error) {
	known := make(map[string]plan.Release, len(all)+len(p.Record))
	for i := range all {
		r := released(&all[i])
		known[r.Revision] = r
	}
	for _, r := range k.justReleased(objectKey{o.Namespace, o.Name}) {
		known[r.Revision] = newer(r, known[r.Revision])
	}
	template := ""
	for revision, content := range p.Record { // contents of one object differ in overrides alone
		if template == "" {
			var err error
			if template, err = (federated.Content{Template: content.Template}).Revision(); err != nil {
				return nil, err
			}
		}
		known[revision] = plan.Release{Revision: revision, Template: template, Generation: o.Generation}
	}
	needed := map[string]bool{}
	for i := range p.Steps {
		needed[p.Steps[i].Revision], needed[p.Steps[i].Want] = true, true
	}
	return recent(known, needed, k.opts.HistoryLimit), nil
}

// recent are the releases that somebody needs, and so many of the newest others, oldest first.
func recent(known map[string]plan.Release, needed map[string]bool, limit int) []plan.Release {
	all := make([]plan.Release, 0, len(known))
	for _, r := range known {
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Generation != all[j].Generation {
			return all[i].Generation > all[j].Generation
		}
		return all[i].Revision > all[j].Revision
	})
	out := make([]plan.Release, 0, len(all))
	for _, r := range all {
		if !needed[r.Revision] {
			if limit--; limit < 0 {
				continue
			}
		}
		out = append(out, r)
	}
	slices.Reverse(out)
	return out
}

// released is what a revision's metadata say of its release.
func released(m *metav1.PartialObjectMetadata) plan.Release {
	return plan.Release{
		Revision:   m.Labels[propagationv1alpha1.RevisionHashLabel],
		Template:   m.Labels[propagationv1alpha1.RevisionTemplateLabel],
		Generation: lastGeneration(m),
	}
}

// newer is what is known of one revision from two sides.
func newer(a, b plan.Release) plan.Release {
	if a.Revision == "" || b.Revision != "" && b.Generation > a.Generation {
		return b
	}
	return a
}

// justReleased are the revisions that were written just now, whether or not the cache has them.
func (k *carrier) justReleased(key objectKey) []plan.Release {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]plan.Release, 0, len(k.recorded[key]))
	for _, m := range k.recorded[key] {
		out = append(out, m.Release)
	}
	return out
}
