package features

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestEveryGateHasAnOwnerAStageAndOneLineOfWords(t *testing.T) {
	for _, s := range All() {
		if s.Owner == "" || s.Description == "" || s.Off == "" {
			t.Errorf("%s: owner, description and what happens without it must be said: %+v", s.Gate, s)
		}
		if s.Stage != Alpha && s.Stage != Beta && s.Stage != GA {
			t.Errorf("%s: stage is %q", s.Gate, s.Stage)
		}
		for _, line := range []string{s.Description, s.Off} {
			if strings.Contains(line, "\n") || strings.HasSuffix(line, ".") {
				t.Errorf("%s: %q is not one line without a full stop", s.Gate, line)
			}
		}
	}
	if !slices.IsSorted(Names()) {
		t.Errorf("the gates are not in order: %v", Names())
	}
	if len(Names()) > 64 {
		t.Error("more gates than bits")
	}
}

func TestTheZeroValueIsTheDefaults(t *testing.T) {
	on := []Gate{Topologies, PlacementMask, TenantIsolation, AnnotationPropagation, FieldRetention, HealthStatus,
		PushReconciler, SchedulerPreferences, RawResourceStatusCollection}
	off := []Gate{RequireTenantGrants, PropagatedVersions}
	if len(on)+len(off) != len(All()) {
		t.Fatal("a gate is missing in this test")
	}
	for _, name := range on {
		if !(Gates{}).Enabled(name) {
			t.Errorf("%s is off by default", name)
		}
	}
	for _, name := range off {
		if (Gates{}).Enabled(name) {
			t.Errorf("%s is on by default", name)
		}
	}
}

func TestEachGateIsTurnedByItselfAndBack(t *testing.T) {
	for _, s := range All() {
		turned, err := Gates{}.With(string(s.Gate), !s.Default)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range All() {
			if want := other.Default != (other.Gate == s.Gate); turned.Enabled(other.Gate) != want {
				t.Errorf("with %s turned, %s is %t", s.Gate, other.Gate, !want)
			}
		}
		if back, _ := turned.With(string(s.Gate), s.Default); back != (Gates{}) {
			t.Errorf("%s does not turn back", s.Gate)
		}
	}
}

func TestANameThatIsNoGatesIsToldWithTheGatesThereAre(t *testing.T) {
	g, errs := Gates{}.WithAll(map[string]bool{"PlacementMaks": false, "PlacementMask": false, "": true})
	if len(errs) != 2 {
		t.Fatalf("errors are %v, want one for each unknown name", errs)
	}
	var unknown *UnknownError
	if !errors.As(errs[1], &unknown) || unknown.Name != "PlacementMaks" {
		t.Errorf("error is %v", errs[1])
	}
	for _, name := range Names() {
		if !strings.Contains(errs[1].Error(), name) {
			t.Errorf("%q does not say that there is %s", errs[1], name)
		}
	}
	if g.Enabled(PlacementMask) || g.String() != "PlacementMask=false" {
		t.Errorf("the known name had no effect: %s", g)
	}
}

func TestAnUnknownGateIsOff(t *testing.T) {
	if (Gates{}).Enabled("Nonsense") {
		t.Error("a gate that does not exist is on")
	}
}
