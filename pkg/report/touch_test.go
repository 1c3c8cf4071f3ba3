package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kubefed 3.10: lastTransitionTime moves with status or reason, lastUpdateTime also when anything about a cluster changed.
func TestTheTimesOfPropagationMoveAsInKubeFed(t *testing.T) {
	in := input(asAsked("a"), asAsked("b"))
	in.Now = earlier
	status, _ := Status(in)
	times := func(f ...finding) (updated, moved string) {
		again := input(f...)
		again.Object.Status = stored(t, status)
		after, _ := Status(again)
		told := stored(t, after)
		c, _ := told.Condition(Propagation)
		if c.LastUpdateTime == earlier {
			if diff := cmp.Diff(status, after); diff != "" {
				t.Errorf("with nothing changed a status is written:\n%s", diff)
			}
		}
		return c.LastUpdateTime, c.LastTransitionTime
	}
	other := asAsked("b")
	other.step.Observed = copyOf("b", 4)
	for name, c := range map[string]struct {
		findings       []finding
		updated, moved string
	}{
		"nothing changed":                 {[]finding{asAsked("a"), asAsked("b")}, earlier, earlier},
		"a copy changed":                  {[]finding{asAsked("a"), other}, now, earlier},
		"a unit left":                     {[]finding{asAsked("a")}, now, earlier},
		"a unit is not as asked any more": {[]finding{asAsked("a"), waits("b", "ClusterNotReady")}, now, now},
	} {
		t.Run(name, func(t *testing.T) {
			if updated, moved := times(c.findings...); updated != c.updated || moved != c.moved {
				t.Errorf("lastUpdateTime %s, lastTransitionTime %s; want %s, %s", updated, moved, c.updated, c.moved)
			}
		})
	}
}
