package propagation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	propagationv1alpha1 "github.com/cellfed/cellfed/pkg/apis/propagation/v1alpha1"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
)

// story is an object that is released again and again while one of its units stays at the first release.
type story struct {
	k       *carrier
	now     time.Time
	key     objectKey
	object  *federated.Object
	kept    []metav1.PartialObjectMetadata // on the plane
	content map[string]federated.Content   // by revision
	latest  string
	first   string
}

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{now: time.Unix(0, 0), key: objectKey{"acme", "web"}, content: map[string]federated.Content{}}
	s.k = &carrier{Controller: &Controller{opts: Options{HistoryLimit: 3, Now: func() time.Time { return s.now }}}, recorded: map[objectKey]map[string]made{}}
	s.object = &federated.Object{Namespace: "acme", Name: "web"}
	s.release(t)
	s.first = s.latest
	return s
}

// release edits the object; it is not recorded yet.
func (s *story) release(t *testing.T) {
	t.Helper()
	s.now = s.now.Add(time.Second)
	s.object.Generation++
	content := federated.Content{Template: map[string]any{"data": map[string]any{"version": fmt.Sprint(s.object.Generation)}}}
	revision, err := content.Revision()
	if err != nil {
		t.Fatal(err)
	}
	s.content[revision], s.latest = content, revision
}

// record keeps the latest revision on the plane.
func (s *story) record() {
	m := metav1.PartialObjectMetadata{}
	m.Labels = map[string]string{propagationv1alpha1.RevisionHashLabel: s.latest, propagationv1alpha1.RevisionTemplateLabel: s.latest}
	m.Annotations = map[string]string{propagationv1alpha1.RevisionLastGenerationAnnotation: fmt.Sprint(s.object.Generation)}
	s.kept = append(s.kept, m)
	s.k.noteMade(s.key, s.latest, made{at: s.now, Release: plan.Release{Revision: s.latest, Template: s.latest, Generation: s.object.Generation}})
}

// prune removes what carrier.prune does after a release.
func (s *story) prune(before string) {
	gone := map[string]bool{}
	for _, m := range surplus(s.kept, map[string]bool{s.first: true, s.latest: true, before: true}, s.k.opts.HistoryLimit) {
		gone[m.Labels[propagationv1alpha1.RevisionHashLabel]] = true
	}
	s.kept = slices.DeleteFunc(s.kept, func(m metav1.PartialObjectMetadata) bool {
		return gone[m.Labels[propagationv1alpha1.RevisionHashLabel]]
	})
}

func (s *story) told(t *testing.T, shown []metav1.PartialObjectMetadata) []plan.Release {
	t.Helper()
	p := &plan.Plan{
		Steps: []plan.Step{{Unit: "good", Revision: s.latest, Want: s.latest}, {Unit: "late", Revision: s.first, Want: s.latest}},
		// What is kept is part of the plan that follows, too.
		Record: map[string]federated.Content{s.latest: s.content[s.latest]},
	}
	h, err := s.k.history(shown, s.object, p)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A release is told in one status write. If the count of releases that a unit has missed depended on how far the cache is,
// the next look would write all of the status anew, for each release to each object while one unit stays behind.
func TestTheLookAfterAReleaseCountsNoOtherReleases(t *testing.T) {
	s := newStory(t)
	s.record()
	for i := range 12 {
		before := s.latest
		s.release(t)
		cached := slices.Clone(s.kept)
		planned := s.told(t, cached)
		s.record()
		late := slices.DeleteFunc(slices.Clone(cached), func(m metav1.PartialObjectMetadata) bool {
			return i > 0 && m.Labels[propagationv1alpha1.RevisionHashLabel] == before
		})
		for what, shown := range map[string][]metav1.PartialObjectMetadata{
			"the cache shows nothing of it yet": cached, "nor of the one before": late, "the cache shows it": s.kept,
		} {
			if diff := cmp.Diff(planned, s.told(t, shown)); diff != "" {
				t.Fatalf("release %d, %s (-when it was planned):\n%s", i, what, diff)
			}
		}
		s.prune(before)
		if diff := cmp.Diff(planned, s.told(t, s.kept)); diff != "" {
			t.Fatalf("release %d, what is old was pruned (-when it was planned):\n%s", i, diff)
		}
		remembered := s.k.recorded
		s.k.recorded = nil // another process
		if diff := cmp.Diff(planned, s.told(t, s.kept)); diff != "" {
			t.Fatalf("release %d, later (-when it was planned):\n%s", i, diff)
		}
		s.k.recorded = remembered
		if want := min(i+2, s.k.opts.HistoryLimit+2); len(planned) != want || planned[0].Revision != s.first || planned[len(planned)-1].Revision != s.latest {
			t.Fatalf("release %d: the history is %v, want %d releases from the late unit's to the latest", i, planned, want)
		}
	}
}

// The history is read and computed with again only where it will be told of: for each release to units that are well it
// would cost as much as the plan itself.
func TestHistoryIsReadForUnitsThatStayBehind(t *testing.T) {
	for name, c := range map[string]struct {
		step   plan.Step
		before federated.UnitStatus
		want   bool
	}{
		"it is up to date":                        {plan.Step{Action: plan.Keep}, federated.UnitStatus{}, false},
		"it is about to get the release":          {plan.Step{Action: plan.Update, Behind: 1}, federated.UnitStatus{}, false},
		"it did not get the last one":             {plan.Step{Action: plan.Update, Behind: 1}, federated.UnitStatus{Code: plan.CodeUpdateFailed}, true},
		"the mask has kept it, and admits it now": {plan.Step{Action: plan.Update, Behind: 1}, federated.UnitStatus{Behind: 3}, true},
		"its member is away":                      {plan.Step{Action: plan.Wait, Behind: 1}, federated.UnitStatus{}, true},
		"the mask keeps it":                       {plan.Step{Action: plan.Keep, Behind: 1}, federated.UnitStatus{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.step.Unit, c.before.Name = "a", "a"
			o := &federated.Object{Status: federated.Status{Units: []federated.UnitStatus{c.before}}}
			if got := staysBehind(o, &c.step); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
