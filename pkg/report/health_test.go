package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

// web is a Deployment as a member holds it, with so many of three replicas updated, or one that gave up.
func web(unit, revision string, updated int64) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"generation": int64(2),
			"annotations": map[string]any{wellknown.OwnerAnnotation: federated.Owner{Plane: "p", UID: "u", Unit: unit, Revision: revision}.String()}},
		"spec":   map[string]any{"replicas": int64(3)},
		"status": map[string]any{"observedGeneration": int64(2), "replicas": int64(3), "updatedReplicas": updated, "availableReplicas": int64(3)},
	}}
	if updated < 0 {
		u.Object["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}}
	}
	return u
}

func runs(unit string, updated int64) finding {
	f := asAsked(unit)
	f.step.Observed = web(unit, "r2", updated)
	return f
}

func kept(unit string, updated int64) finding {
	f := held(unit)
	f.step.Observed = web(unit, "r1", updated)
	return f
}

func judged(findings ...finding) Input {
	in := input(findings...)
	in.Health = true
	return in
}

func TestHealthyIsTrueExactlyWhenEveryWritableUnitIsAsAskedAndHealthy(t *testing.T) {
	for name, tc := range map[string]struct {
		findings                []finding
		change                  func(*Input)
		status, reason, message string
	}{
		"all units are healthy":                    {findings: []finding{runs("a", 3), runs("b", 3)}, status: "True", reason: ReasonAllHealthy},
		"one is being rolled out":                  {findings: []finding{runs("a", 3), runs("b", 1)}, status: "False", reason: ReasonProgressing, message: "b: Progressing"},
		"one has given up, another is on its way":  {findings: []finding{runs("a", -1), runs("b", 1)}, status: "False", reason: ReasonDegraded, message: "a: Degraded; b: Progressing"},
		"a held unit is not healthy":               {findings: []finding{runs("a", 3), kept("b", 1)}, status: "True", reason: ReasonAllHealthy},
		"only a held unit is healthy":              {findings: []finding{runs("a", 1), kept("b", 3)}, status: "False", reason: ReasonProgressing, message: "a: Progressing"},
		"all units are held":                       {findings: []finding{kept("b", 1)}, status: "True", reason: ReasonNothingWritable, message: "no unit is writable now"},
		"nothing is placed":                        {status: "True", reason: ReasonNothingWritable, message: "no unit is writable now"},
		"one cannot be written, and is healthy":    {findings: []finding{runs("a", 3), writes("b", plan.Failed, plan.Why{Code: "UpdateFailed"})}, status: "False", reason: ReasonNotAsAsked, message: "b: UpdateFailed"},
		"a member is away":                         {findings: []finding{runs("a", 3), waits("b", plan.CodeClusterNotReady)}, status: "False", reason: ReasonNotAsAsked, message: "b: ClusterNotReady"},
		"a copy is still being removed":            {findings: []finding{runs("a", 3), {step: plan.Step{Unit: "b", Action: plan.Wait, Why: plan.Why{Code: plan.CodeWaitingForRemoval}}}}, status: "False", reason: ReasonNotAsAsked, message: "b: WaitingForRemoval"},
		"one cannot be written, and one gave up":   {findings: []finding{runs("a", -1), waits("b", plan.CodeClusterNotReady)}, status: "False", reason: ReasonDegraded, message: "a: Degraded"},
		"the write was confirmed, and not yet run": {findings: []finding{updated("a", 0)}, status: "False", reason: ReasonProgressing, message: "a: Progressing"},
		"the object is held":                       {findings: []finding{waits("a", plan.CodeOnHold)}, status: "False", reason: ReasonOnHold, message: "because"},
		"the object is being deleted":              {findings: []finding{runs("a", 3)}, change: func(in *Input) { in.Object.Deleting = true }, status: "False", reason: ReasonDeleting},
	} {
		t.Run(name, func(t *testing.T) {
			in := judged(tc.findings...)
			if tc.change != nil {
				tc.change(&in)
			}
			status, _ := Status(in)
			c, _ := ptr(stored(t, status)).Condition(Healthy)
			want := federated.Condition{Type: Healthy, Status: tc.status, Reason: tc.reason, Message: tc.message,
				ObservedGeneration: 7, LastUpdateTime: now, LastTransitionTime: now}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// updated is a write of r2 that the member confirmed.
func updated(unit string, replicas int64) finding {
	f := writes(unit, plan.Done, plan.Why{})
	f.step.Observed, f.result.Object = web(unit, "r1", 3), web(unit, "r2", replicas)
	return f
}

func TestHealthyRevisionIsTheOneThatAUnitRunsAndIsHealthyWith(t *testing.T) {
	edited := runs("a", 3)
	edited.step.Action, edited.result.Outcome, edited.result.Why = plan.Update, plan.Failed, plan.Why{Code: plan.CodeUpdateFailed}
	edited.step.Observed = web("a", "r1", 3)
	edited.step.Observed.Object["spec"].(map[string]any)["paused"] = true
	before, err := render.Lens{}.Version(web("a", "r1", 3))
	if err != nil {
		t.Fatal(err)
	}
	refused := edited
	refused.step.Observed = web("a", "r1", 3)
	gone := refused
	gone.step.Action, gone.step.Observed = plan.Create, nil
	unmarked := updated("a", 3) // a webhook in the member takes the mark off
	unmarked.step.Action, unmarked.step.Observed = plan.Create, nil
	unmarked.result.Object.SetAnnotations(nil)
	loading := finding{step: plan.Step{Unit: "a", Action: plan.Wait, Placed: true, Want: "r2"}}
	for name, tc := range map[string]struct {
		finding          finding
		health, revision string
	}{
		"as asked and healthy":                      {runs("a", 3), "Healthy", "r2"},
		"as asked, and being rolled out":            {runs("a", 2), "Progressing", ""},
		"as asked, and given up":                    {runs("a", -1), "Degraded", ""},
		"held, and healthy with what it has":        {kept("a", 3), "Healthy", "r1"},
		"just written, and at work":                 {updated("a", 1), "Progressing", ""},
		"just written, and healthy at once":         {updated("a", 3), "Healthy", "r2"},
		"just made, and without our mark":           {unmarked, "Healthy", "r2"},
		"refusing the new, healthy with the old":    {refused, "Healthy", "r1"},
		"refusing to be put back after an edit":     {edited, "Healthy", ""},
		"gone, and refusing to be made again":       {gone, "Degraded", ""},
		"in a member that is away":                  {waits("a", plan.CodeClusterNotReady), "Unknown", ""},
		"in a member that is only being read again": {loading, "Healthy", "r1"},
	} {
		t.Run(name, func(t *testing.T) {
			in := judged(tc.finding)
			in.Object.Status.Units = []federated.UnitStatus{{Name: "a", Revision: "r1", Version: before, Inventory: true, Health: "Healthy", HealthyRevision: "r1"}}
			status, _ := Status(in)
			e, _ := ptr(stored(t, status)).Unit("a")
			if e.Health != tc.health || e.HealthyRevision != tc.revision {
				t.Errorf("%s with %q (%s), want %s with %q", e.Health, e.HealthyRevision, e.HealthMessage, tc.health, tc.revision)
			}
		})
	}
}

func TestAUnitThatNeverHadACopyHasNoHealth(t *testing.T) {
	for _, code := range []string{plan.CodeClusterNotReady, plan.CodeUnitNotReady, plan.CodeCreationFailed} {
		status, _ := Status(judged(waits("a", code)))
		if e, _ := ptr(stored(t, status)).Unit("a"); e.Health != "" || e.HealthyRevision != "" {
			t.Errorf("%s: %+v", code, e)
		}
	}
}

func TestARolloutThatGoesOnChangesNoCondition(t *testing.T) {
	in := judged(runs("a", 1))
	first, _ := Status(in)
	in = judged(runs("a", 2))
	in.Object.Status, in.Now = stored(t, first), "2026-11-21T12:00:00Z"
	second, events := Status(in)
	if diff := cmp.Diff(first["conditions"], second["conditions"]); diff != "" {
		t.Errorf("conditions (-1 of 3 +2 of 3):\n%s", diff)
	}
	a, _ := ptr(stored(t, second)).Unit("a")
	if a.HealthMessage != "2 of 3 replicas are updated" || len(events) != 0 {
		t.Errorf("%+v, events %v", a, events)
	}
}

func TestHealthIsInTheSummaryAndInEvents(t *testing.T) {
	in := judged(runs("a", 3), kept("b", 3), runs("c", -1), waits("d", plan.CodeClusterNotReady))
	status, events := Status(in)
	if diff := cmp.Diff(map[string]any{"units": "2/4", "held": "1", "healthy": "2/4"}, status["summary"]); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	told := func(events []Event, reason string) bool {
		for _, e := range events {
			if e.Reason == reason {
				return true
			}
		}
		return false
	}
	if !told(events, ReasonDegraded) {
		t.Errorf("trouble is not told: %v", events)
	}
	well := judged(runs("a", 3))
	well.Object.Status = stored(t, status)
	if _, events := Status(well); !told(events, "Recovered") {
		t.Errorf("its end is not told: %v", events)
	}
}

func TestWithoutTheGateNothingIsSaidOfHealth(t *testing.T) {
	first, _ := Status(judged(runs("a", 3)))
	in := input(runs("a", 3))
	in.Object.Status = stored(t, first)
	status, _ := Status(in)
	s := stored(t, status)
	if _, there := s.Condition(Healthy); there {
		t.Error("the condition stays")
	}
	if e, _ := s.Unit("a"); e.Health+e.HealthMessage+e.HealthyRevision != "" {
		t.Errorf("%+v", e)
	}
	if _, there := status["summary"].(map[string]any)["healthy"]; there {
		t.Error("the summary stays")
	}
}

func TestWhileNewUnitsAreRecordedTheObjectIsNotHealthy(t *testing.T) {
	in := judged(runs("a", 3))
	in.Plan.Steps = append(in.Plan.Steps, plan.Step{Unit: "b", Action: plan.Create, Placed: true, Want: "r2", Revision: "r2"})
	in.Plan.Intent = []string{"b"}
	in.Object.Status.Conditions = []federated.Condition{{Type: Healthy, Status: "True"}}
	if c, _ := ptr(stored(t, Intent(in))).Condition(Healthy); c.Status != "False" || !strings.Contains(c.Message, "b") {
		t.Errorf("%+v", c)
	}
}
