package plan_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Whose the replicas are is said by the spec, beside the revision. A unit that the mask holds goes on as it was when it
// was written: its autoscaler is not overruled because the next generation will overrule it.
func TestAHeldUnitsReplicasStayWhoseTheyWere(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after bool
		copyStays     int64 // after the autoscaler has set 7
	}{
		"what was left to the member stays the member's":     {true, false, 7},
		"what was the plane's stays the plane's":             {false, true, 2},
		"and nothing changes where nobody said another word": {true, true, 7},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			for _, line := range []string{"unit a appears on east", "place a"} {
				if err := w.say(line); err != nil {
					t.Fatal(err)
				}
			}
			retain := func(on bool) {
				w.spec(func(s map[string]any) {
					if delete(s, "retainReplicas"); on {
						s["retainReplicas"] = true
					}
				})
			}
			scale := func(n int64) {
				w.edit("a", func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)["replicas"] = n })
			}
			replicas := func() int64 {
				n, _, _ := unstructured.NestedInt64(w.copyIn(w.units["a"]).Object, "spec", "replicas")
				return n
			}
			retain(tc.before)
			w.rest()
			w.spec(func(s map[string]any) { s["placementMask"] = map[string]any{} })
			retain(tc.after)
			w.rest()
			scale(7)
			w.rest()
			if got := replicas(); got != tc.copyStays {
				t.Errorf("the held copy has %d replicas, want %d", got, tc.copyStays)
			}
			// Repair and re-creation are of what it was, too.
			w.edit("a", func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)["image"] = "drift" })
			w.rest()
			if got := replicas(); got != tc.copyStays {
				t.Errorf("the repaired copy has %d replicas, want %d", got, tc.copyStays)
			}
			w.spec(func(s map[string]any) { delete(s, "placementMask") })
			w.rest()
			scale(5)
			w.rest()
			if want := map[bool]int64{true: 5, false: 2}[tc.after]; replicas() != want {
				t.Errorf("the writable copy has %d replicas, want %d", replicas(), want)
			}
		})
	}
}
