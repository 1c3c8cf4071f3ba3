package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

const (
	earlier = "2026-11-21T10:00:00Z"
	now     = "2026-11-21T11:00:00Z"
)

// finding is what was planned for one unit and what came of it.
type finding struct {
	step   plan.Step
	result plan.Result
}

func asAsked(unit string) finding {
	return finding{step: plan.Step{Unit: unit, Action: plan.Keep, Placed: true, Want: "r2", Revision: "r2", Version: "v", Observed: copyOf(unit, 3)}}
}

func held(unit string) finding {
	f := asAsked(unit)
	f.step.Held, f.step.Revision, f.step.Why.Message = true, "r1", "held at revision r1 by the mask"
	return f
}

func waits(unit, code string) finding {
	return finding{step: plan.Step{Unit: unit, Action: plan.Wait, Placed: true, Want: "r2", Why: plan.Why{Code: code, Message: "because"}}}
}

func writes(unit string, outcome plan.Outcome, why plan.Why) finding {
	return finding{
		step:   plan.Step{Unit: unit, Member: "m1", Action: plan.Update, Placed: true, Want: "r2", Revision: "r2", Observed: copyOf(unit, 3)},
		result: plan.Result{Outcome: outcome, Object: copyOf(unit, 4), Why: why},
	}
}

func copyOf(unit string, generation int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{
			"generation":  generation,
			"annotations": map[string]any{wellknown.OwnerAnnotation: federated.Owner{Plane: "p", UID: "u", Unit: unit, Revision: "r2"}.String()},
		},
		"status": map[string]any{"readyReplicas": generation},
	}}
}

func input(findings ...finding) Input {
	in := Input{Object: &federated.Object{UID: "u", Generation: 7}, Plan: &plan.Plan{}, Results: map[string]plan.Result{}, Now: now, CollectStatus: true}
	for _, f := range findings {
		in.Plan.Steps = append(in.Plan.Steps, f.step)
		if f.result.Outcome != "" {
			in.Results[f.step.Unit] = f.result
		}
	}
	return in
}

// stored is a status as the typed view reads it after an API server has kept it.
func stored(t *testing.T, status map[string]any) federated.Status {
	t.Helper()
	raw, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	var s map[string]any
	if err := utiljson.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, status); diff != "" {
		t.Errorf("the status is stored differently and would be written again (-stored +written):\n%s", diff)
	}
	u.Object["status"] = s
	return federated.Read(u).Status
}

func TestPropagationIsTrueExactlyWhenEveryWritableUnitIsAsAsked(t *testing.T) {
	failed := plan.Why{Code: plan.CodeUpdateFailed, Message: "quota"}
	for name, tc := range map[string]struct {
		findings                []finding
		change                  func(*Input)
		status, reason, message string
	}{
		"nothing is placed":                   {status: "True"},
		"all units are as asked":              {findings: []finding{asAsked("a"), asAsked("b")}, status: "True"},
		"the others are held":                 {findings: []finding{asAsked("a"), held("b")}, status: "True"},
		"a held unit's member is away":        {findings: []finding{asAsked("a"), {step: plan.Step{Unit: "b", Action: plan.Wait, Placed: true, Held: true, Why: plan.Why{Code: plan.CodeClusterNotReady}}}}, status: "True"},
		"the write was confirmed":             {findings: []finding{writes("a", plan.Done, plan.Why{})}, status: "True"},
		"a writable unit's member is away":    {findings: []finding{asAsked("a"), waits("b", plan.CodeClusterNotReady)}, status: "False", reason: ReasonCheckClusters, message: "b: ClusterNotReady"},
		"a write failed":                      {findings: []finding{writes("a", plan.Failed, failed)}, status: "False", reason: ReasonCheckClusters, message: "a: UpdateFailed"},
		"a write has not been answered":       {findings: []finding{writes("a", plan.Pending, plan.Why{})}, status: "False", reason: ReasonPropagating, message: "a: Pending"},
		"the same at the second look":         {findings: []finding{waits("a", plan.CodePending)}, status: "False", reason: ReasonPropagating, message: "a: Pending"},
		"one is slow and another one fails":   {findings: []finding{writes("a", plan.Pending, plan.Why{}), writes("b", plan.Failed, failed)}, status: "False", reason: ReasonCheckClusters, message: "a: Pending; b: UpdateFailed"},
		"the member's object changed":         {findings: []finding{writes("a", plan.Found, plan.Why{})}, status: "False", reason: ReasonPropagating, message: "a: Pending"},
		"a unit left the placement, and held": {findings: []finding{asAsked("a"), {step: plan.Step{Unit: "b", Action: plan.Hold, Held: true, Why: plan.Why{Code: plan.CodeWaitingForMask}}}}, status: "True"},
		"a copy is still being removed":       {findings: []finding{asAsked("a"), {step: plan.Step{Unit: "b", Action: plan.Wait, Why: plan.Why{Code: plan.CodeWaitingForRemoval}}}}, status: "False", reason: ReasonCheckClusters, message: "b: WaitingForRemoval"},
		"a copy was removed at once":          {findings: []finding{asAsked("a"), {plan.Step{Unit: "b", Action: plan.Delete, Why: plan.Why{Code: plan.CodeWaitingForRemoval}}, plan.Result{Outcome: plan.Gone}}}, status: "True"},
		"the object is held":                  {findings: []finding{waits("a", plan.CodeOnHold)}, status: "False", reason: ReasonOnHold, message: "because"},
		"the object cannot be read and has no copy": {
			change: func(in *Input) {
				in.Object.Faults = []federated.Fault{{Path: "spec.placement", Message: "is string"}}
			},
			status: "False", reason: ReasonOnHold, message: "the object cannot be read: spec.placement: is string"},
		"the object is being deleted": {findings: []finding{waits("a", plan.CodeClusterNotReady)},
			change: func(in *Input) { in.Object.Deleting = true }, status: "False", reason: ReasonDeleting, message: "a: ClusterNotReady"},
		"many units are not as asked": {findings: []finding{waits("a", "X"), waits("b", "X"), waits("c", "X"), waits("d", "X"), waits("e", "X"), waits("f", "X"), waits("g", "X")},
			status: "False", reason: ReasonCheckClusters, message: "a: X; b: X; c: X; d: X; e: X; and 2 more"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.findings...)
			if tc.change != nil {
				tc.change(&in)
			}
			status, _ := Status(in)
			c, _ := ptr(stored(t, status)).Condition(Propagation)
			want := federated.Condition{Type: Propagation, Status: tc.status, Reason: tc.reason, Message: tc.message,
				ObservedGeneration: 7, LastUpdateTime: now, LastTransitionTime: now}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestHeldTellsHowManyUnitsTheMaskKeeps(t *testing.T) {
	status, _ := Status(input(asAsked("a"), held("b"), held("c")))
	s := stored(t, status)
	c, _ := s.Condition(Held)
	if c.Status != "True" || c.Reason != ReasonMasked || c.Message != "2 of 3 units are kept as they are by the mask" {
		t.Errorf("with two of three held: %+v", c)
	}
	if diff := cmp.Diff(map[string]any{"units": "1/3", "held": "2"}, status["summary"]); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	b, _ := s.Unit("b")
	if !b.Held || b.Revision != "r1" || b.Code != "" {
		t.Errorf("the entry of a held unit: %+v", b)
	}
	status, _ = Status(input(asAsked("a")))
	if c, _ := ptr(stored(t, status)).Condition(Held); c.Status != "False" || c.Reason != ReasonNothingHeld {
		t.Errorf("with nothing held: %+v", c)
	}
}

func TestAnObjectOnHoldReleasesNobody(t *testing.T) {
	in := input(asAsked("a"), held("b"))
	first, _ := Status(in)
	// Unit b, which the mask held, never had a copy: of an object on hold nobody knows that it is placed.
	stop := input(waits("a", plan.CodeOnHold))
	stop.Plan.Steps[0].Placed = false
	stop.Object.Status = stored(t, first)
	second, events := Status(stop)
	before, _ := stop.Object.Status.Condition(Held)
	after, _ := ptr(stored(t, second)).Condition(Held)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("condition Held (-before +on hold):\n%s", diff)
	}
	if len(events) != 1 || events[0].Reason != ReasonOnHold || !events[0].Warning {
		t.Errorf("events: %+v", events)
	}
	if diff := cmp.Diff(map[string]any{"units": "0/1", "held": "0"}, second["summary"]); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

func TestAnEntryTellsWhatWasConfirmed(t *testing.T) {
	before := federated.UnitStatus{Name: "a", Cluster: "m1", Revision: "r1", Version: "v1", Generation: 2, Inventory: true, RemoteStatus: map[string]any{"readyReplicas": int64(2)}}
	written := copyOf("a", 4)
	version, err := render.Lens{}.Version(written)
	if err != nil {
		t.Fatal(err)
	}
	foreign := copyOf("a", 9)
	foreign.SetAnnotations(nil)
	remote := func(n int64) map[string]any { return map[string]any{"readyReplicas": n} }
	for name, tc := range map[string]struct {
		finding finding
		want    federated.UnitStatus
	}{
		"a confirmed write moves revision, version, generation and the member's status": {writes("a", plan.Done, plan.Why{}),
			federated.UnitStatus{Name: "a", Revision: "r2", Version: version, Generation: 4, Inventory: true, RemoteStatus: remote(4)}},
		"a failed write keeps the last confirmed revision": {writes("a", plan.Failed, plan.Why{Code: "UpdateFailed", Message: "quota"}),
			federated.UnitStatus{Name: "a", Code: "UpdateFailed", Message: "quota", Revision: "r1", Version: "v1", Generation: 3, Inventory: true, RemoteStatus: remote(3)}},
		"so does one that was not answered": {writes("a", plan.Pending, plan.Why{}),
			federated.UnitStatus{Name: "a", Code: "Pending", Message: "member m1 has not answered yet", Revision: "r1", Version: "v1", Generation: 3, Inventory: true, RemoteStatus: remote(3)}},
		"and one that came too late": {writes("a", plan.Stale, plan.Why{}),
			federated.UnitStatus{Name: "a", Code: "Pending", Message: "the member's object changed meanwhile; looking again", Revision: "r1", Version: "v1", Generation: 3, Inventory: true, RemoteStatus: remote(3)}},
		"a unit that is kept has what was found": {asAsked("a"),
			federated.UnitStatus{Name: "a", Revision: "r2", Version: "v", Generation: 3, Inventory: true, RemoteStatus: remote(3)}},
		"a member that is away leaves what was known": {waits("a", plan.CodeClusterNotReady),
			federated.UnitStatus{Name: "a", Code: "ClusterNotReady", Message: "because", Revision: "r1", Version: "v1", Generation: 2, Inventory: true, RemoteStatus: remote(2)}},
		"a foreign object's generation and status are none of ours": {finding{step: plan.Step{Unit: "a", Action: plan.Hold, Placed: true, Observed: foreign, Why: plan.Why{Code: plan.CodeAlreadyExists}}},
			federated.UnitStatus{Name: "a", Code: "AlreadyExists", Revision: "r1", Version: "v1", Generation: 2, Inventory: true, RemoteStatus: remote(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.finding)
			in.Object.Status.Units = []federated.UnitStatus{before}
			status, _ := Status(in)
			got, _ := ptr(stored(t, status)).Unit("a")
			tc.want.Cluster = "m1"
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the member's status is copied only where it is collected", func(t *testing.T) {
		in := input(asAsked("a"))
		in.CollectStatus = false
		status, _ := Status(in)
		if e, _ := ptr(stored(t, status)).Unit("a"); e.RemoteStatus != nil || e.Generation != 3 {
			t.Errorf("%+v", e)
		}
	})
}

func TestAnEntryIsDroppedOnlyWhenTheMemberSaidThatNothingIsThere(t *testing.T) {
	for name, tc := range map[string]struct {
		action  plan.Action
		placed  bool
		outcome plan.Outcome
		dropped bool
	}{
		"removed at once":                     {plan.Delete, false, plan.Gone, true},
		"being removed":                       {plan.Delete, false, plan.Done, false},
		"removal not answered":                {plan.Delete, false, plan.Pending, false},
		"removal failed":                      {plan.Delete, false, plan.Failed, false},
		"another object under its name":       {plan.Delete, false, plan.Stale, false},
		"asked, and gone":                     {plan.Confirm, false, plan.Gone, true},
		"asked, and there":                    {plan.Confirm, false, plan.Found, false},
		"asked of a unit that is placed":      {plan.Confirm, true, plan.Gone, false},
		"left behind as asked":                {plan.Orphan, false, plan.Gone, true},
		"what is there is not ours":           {plan.Drop, false, "", true},
		"held":                                {plan.Hold, false, "", false},
		"waiting":                             {plan.Wait, false, "", false},
		"a creation that found nothing there": {plan.Create, true, plan.Stale, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(finding{plan.Step{Unit: "a", Action: tc.action, Placed: tc.placed, Observed: copyOf("a", 1)}, plan.Result{Outcome: tc.outcome, Object: copyOf("a", 1)}})
			in.Object.Status.Units = []federated.UnitStatus{{Name: "a", Revision: "r1", Inventory: true}}
			status, _ := Status(in)
			if _, there := ptr(stored(t, status)).Unit("a"); there == tc.dropped {
				t.Errorf("entry there: %t", there)
			}
			if in.Plan.Finished(in.Results) != tc.dropped {
				t.Errorf("an object with this unit alone is finished: %t", !tc.dropped)
			}
		})
	}
}

func TestEqualFindingsMakeEqualStatuses(t *testing.T) {
	in := input(asAsked("a"), held("b"), waits("c", plan.CodeClusterNotReady), writes("d", plan.Failed, plan.Why{Code: "UpdateFailed", Message: strings.Repeat("长", 700)}))
	first, events := Status(in)
	if len(events) == 0 {
		t.Error("the first status tells nothing")
	}
	in.Object.Status = stored(t, first)
	in.Now = "2026-11-21T12:00:00Z"
	second, events := Status(in)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same findings an hour later (-first +second):\n%s", diff)
	}
	if len(events) != 0 {
		t.Errorf("and again events: %v", events)
	}
}

func TestTimesOfConditionsMoveOnlyWithWhatTheyTell(t *testing.T) {
	base := federated.Condition{Type: Propagation, Status: "False", Reason: ReasonCheckClusters, Message: "a: X",
		ObservedGeneration: 7, LastUpdateTime: earlier, LastTransitionTime: earlier}
	for name, tc := range map[string]struct {
		finding            finding
		generation         int64
		update, transition string
	}{
		"nothing new moves nothing":                     {waits("a", "X"), 7, earlier, earlier},
		"another message moves the update":              {waits("a", "Y"), 7, now, earlier},
		"another generation moves the update":           {waits("a", "X"), 8, now, earlier},
		"another reason moves both":                     {waits("a", plan.CodePending), 7, now, now},
		"another status moves both":                     {asAsked("a"), 7, now, now},
		"a change and another generation are no excuse": {asAsked("a"), 8, now, now},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.finding)
			in.Object.Generation = tc.generation
			in.Object.Status = federated.Status{Conditions: []federated.Condition{base}, Units: []federated.UnitStatus{{Name: "a", Code: "X"}}}
			status, _ := Status(in)
			c, _ := ptr(stored(t, status)).Condition(Propagation)
			if c.LastUpdateTime != tc.update || c.LastTransitionTime != tc.transition {
				t.Errorf("updated %s, changed %s; want %s, %s", c.LastUpdateTime, c.LastTransitionTime, tc.update, tc.transition)
			}
		})
	}
}

func TestConditionsOfOthersStay(t *testing.T) {
	in := input(asAsked("a"))
	other := federated.Condition{Type: "Example", Status: "Unknown", Reason: "Theirs", LastUpdateTime: earlier}
	in.Object.Status.Conditions = []federated.Condition{other, {Type: Propagation, Status: "True", LastUpdateTime: earlier, LastTransitionTime: earlier, ObservedGeneration: 7}}
	status, _ := Status(in)
	s := stored(t, status)
	if len(s.Conditions) != 3 || s.Conditions[0] != other || s.Conditions[1].Type != Propagation || s.Conditions[2].Type != Held {
		t.Errorf("conditions: %+v", s.Conditions)
	}
}

func TestEventsComeFromChangesOnly(t *testing.T) {
	was := func(status, reason string) *federated.Condition {
		return &federated.Condition{Type: Propagation, Status: status, Reason: reason}
	}
	failing := waits("a", plan.CodeClusterNotReady)
	for name, tc := range map[string]struct {
		before  *federated.Condition
		heldOne bool // before
		finding finding
		want    []string
	}{
		"placed for the first time, without a hitch": {nil, false, asAsked("a"), nil},
		"work that began has ended":                  {was("False", ReasonPropagating), false, asAsked("a"), nil},
		"work begins":                                {was("True", ""), false, waits("a", plan.CodePending), nil},
		"trouble at the first look":                  {nil, false, failing, []string{"!CheckClusters: a: ClusterNotReady"}},
		"trouble begins":                             {was("True", ""), false, failing, []string{"!CheckClusters: a: ClusterNotReady"}},
		"trouble goes on":                            {was("False", ReasonCheckClusters), false, failing, nil},
		"trouble has ended":                          {was("False", ReasonCheckClusters), false, asAsked("a"), []string{"Propagated: every writable unit is as asked"}},
		"the mask begins to hold":                    {was("True", ""), false, held("a"), []string{"UnitsHeld: 1 of 1 units are kept as they are by the mask"}},
		"the mask goes on holding":                   {was("True", ""), true, held("a"), nil},
		"the mask lets go":                           {was("True", ""), true, asAsked("a"), []string{"UnitsReleased: no unit is held any more"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.finding)
			if tc.before != nil {
				in.Object.Status.Conditions = append(in.Object.Status.Conditions, *tc.before)
				h := federated.Condition{Type: Held, Status: "False", Reason: ReasonNothingHeld}
				if tc.heldOne {
					h = federated.Condition{Type: Held, Status: "True", Reason: ReasonMasked, Message: "old words"}
				}
				in.Object.Status.Conditions = append(in.Object.Status.Conditions, h)
			}
			_, events := Status(in)
			var got []string
			for _, e := range events {
				text := e.Reason + ": " + e.Message
				if e.Warning {
					text = "!" + text
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("deletion that has to wait is told, and is no warning", func(t *testing.T) {
		in := input(failing)
		in.Object.Deleting = true
		if _, events := Status(in); len(events) != 1 || events[0].Warning || events[0].Reason != ReasonDeleting {
			t.Errorf("%+v", events)
		}
	})
}

func TestIntentRecordsUnitsAndForgetsNothing(t *testing.T) {
	in := input(asAsked("a"), held("h"),
		finding{step: plan.Step{Unit: "b", Action: plan.Create, Placed: true, Want: "r2", Revision: "r2"}},
		finding{step: plan.Step{Unit: "c", Action: plan.Create, Placed: true, Want: "r2", Revision: "r2"}})
	in.Plan.Intent = []string{"b", "c"}
	in.Object.Status = federated.Status{ObservedGeneration: 6,
		Units: []federated.UnitStatus{
			{Name: "a", Revision: "r2", Generation: 3, Inventory: true, RemoteStatus: map[string]any{"x": int64(1)}},
			{Name: "h", Revision: "r1", Held: true, Inventory: true, Message: "held"},
			{Name: "b", Code: "UnitNotReady", Message: "x"},
		},
		Conditions: []federated.Condition{{Type: Held, Status: "True", Reason: ReasonMasked, LastTransitionTime: earlier}},
	}
	before := append([]federated.UnitStatus(nil), in.Object.Status.Units...)
	status := Intent(in)
	s := stored(t, status)
	want := []federated.UnitStatus{before[0], before[1],
		{Name: "b", Code: "UnitNotReady", Message: "x", Inventory: true}, {Name: "c", Code: "Pending", Inventory: true}}
	if diff := cmp.Diff(want, s.Units); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, in.Object.Status.Units); diff != "" {
		t.Errorf("the object's own status was changed:\n%s", diff)
	}
	if s.ObservedGeneration != 6 {
		t.Errorf("observedGeneration %d: nothing of generation 7 is done yet", s.ObservedGeneration)
	}
	c, _ := s.Condition(Propagation)
	if c.Status != "False" || c.Reason != ReasonPropagating || c.Message != "being placed in b; c" || c.ObservedGeneration != 7 {
		t.Errorf("Propagation: %+v", c)
	}
	if h, _ := s.Condition(Held); h.LastTransitionTime != earlier {
		t.Errorf("Held: %+v", h)
	}
	if diff := cmp.Diff(map[string]any{"units": "1/4", "held": "1"}, status["summary"]); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

func TestAdmittedTellsOfUnitsThatNobodyPlaced(t *testing.T) {
	for name, tc := range map[string]struct {
		named    bool
		observed int64
		intent   []string
		code     string
		want     bool
	}{
		"a selector, and nobody changed the object": {false, 7, []string{"a"}, "", true},
		"a selector that was just written":          {false, 6, []string{"a"}, "", false},
		"a unit that is named and came to be":       {true, 7, []string{"a"}, "", false},
		"nothing new":                               {false, 7, nil, "", false},
		"a new unit that had to become ready first": {false, 7, []string{"a"}, plan.CodeUnitNotReady, true},
		"a unit whose member was away until now":    {false, 7, []string{"a"}, plan.CodeClusterNotReady, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := input()
			in.Object.Placement.Named = tc.named
			in.Object.Status.ObservedGeneration = tc.observed
			in.Plan.Intent = tc.intent
			if tc.code != "" {
				in.Object.Status.Units = []federated.UnitStatus{{Name: "a", Code: tc.code}}
			}
			e, told := Admitted(in)
			if told != tc.want {
				t.Fatalf("told: %t", told)
			}
			if told && (e.Reason != "UnitAdmitted" || !strings.Contains(e.Message, "a")) {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestMessagesAreBoundedBetweenCharacters(t *testing.T) {
	for _, message := range []string{strings.Repeat("x", 5000), strings.Repeat("长", 2000), strings.Repeat("é", 511) + "x", "broken \xff bytes", "short"} {
		in := input(writes("a", plan.Failed, plan.Why{Code: "UpdateFailed", Message: message}))
		status, _ := Status(in)
		e, _ := ptr(stored(t, status)).Unit("a")
		if len(e.Message) > longest || !utf8.ValidString(e.Message) {
			t.Errorf("%d bytes, valid %t: %.40q…", len(e.Message), utf8.ValidString(e.Message), e.Message)
		}
		if message == "short" && e.Message != message {
			t.Errorf("%q became %q", message, e.Message)
		}
	}
}

func TestFiveHundredUnitsThatAllFailFitInStatus(t *testing.T) {
	var findings []finding
	for i := range 500 {
		f := writes(fmt.Sprintf("rz%03d.acme-production.cell", i), plan.Failed, plan.Why{Code: "UpdateFailed", Message: strings.Repeat("quota ", 500)})
		f.step.Observed = nil
		findings = append(findings, f)
	}
	status, _ := Status(input(findings...))
	raw, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 256<<10 {
		t.Errorf("the status is %d KiB", len(raw)>>10)
	}
}

func TestAMembersStatusThatWouldFailEveryListIsLeftOut(t *testing.T) {
	for levels, kept := range map[int]bool{10: true, 9000: false} {
		var deep any = "end"
		for range levels {
			deep = []any{deep}
		}
		finding := asAsked("a")
		finding.step.Observed = copyOf("a", 3)
		finding.step.Observed.Object["status"] = map[string]any{"deep": deep}
		in := input(finding)
		in.CollectStatus = true
		status, _ := Status(in)
		if e, _ := ptr(stored(t, status)).Unit("a"); (e.RemoteStatus != nil) != kept || e.Generation != 3 {
			t.Errorf("%d levels: status kept: %v, want %v", levels, e.RemoteStatus != nil, kept)
		}
	}
}
