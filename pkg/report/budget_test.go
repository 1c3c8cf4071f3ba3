package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func bytesOf(t *testing.T, v any) int {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return len(raw)
}

// inEitherForm is the larger of the two forms of a status.
func inEitherForm(t *testing.T, namespace string, status map[string]any) int {
	t.Helper()
	obj := map[string]any{"metadata": map[string]any{"name": "web", "namespace": namespace},
		"spec": map[string]any{"topologyType": "cell"}, "status": status}
	return max(bytesOf(t, status), bytesOf(t, topology.ToTopologyForm(obj)["status"]))
}

// fat is a status of about so many bytes, with small and large fields.
func fat(bytes int) map[string]any {
	return map[string]any{
		"replicas": int64(3), "readyReplicas": int64(2), "availableReplicas": int64(2), "observedGeneration": int64(7),
		"conditions": []any{map[string]any{"type": "Available", "status": "True", "message": "<" + strings.Repeat("m", bytes/2)}},
		"images":     []any{strings.Repeat("长", bytes/6)},
	}
}

// crowd is an object in so many units with long names, all with a fat status.
func crowd(units, bytes int, names string, change func(i int, f *finding)) Input {
	var findings []finding
	for i := range units {
		f := asAsked(fmt.Sprintf("%s%03d.%s.cell", longName[:60], i, names))
		f.step.Member, f.step.MemberNamespace, f.step.MemberID = names, names, "01234567-0123-0123-0123-0123456789ab"
		f.step.Want, f.step.Revision, f.step.Version = "0123456789abcdef", "0123456789abcdef", "0123456789abcdef"
		f.step.Behind = 12
		f.step.Observed = copyOf(f.step.Unit, 1234)
		f.step.Observed.Object["status"] = fat(bytes)
		if change != nil {
			change(i, &f)
		}
		findings = append(findings, f)
	}
	return judged(findings...)
}

var longName = strings.Repeat("n", 63)

func TestAStatusStaysInItsBudget(t *testing.T) {
	angry := strings.Repeat("\x01<長> ", 2000)
	fails := func(_ int, f *finding) {
		f.step.Action, f.result = plan.Update, plan.Result{Outcome: plan.Failed, Why: plan.Why{Code: plan.CodeCachedRetrievalFailed, Message: angry}}
	}
	complains := func(_ int, f *finding) {
		f.step.Observed.Object["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "Stalled", "status": "True", "reason": angry, "message": angry}}
	}
	for name, in := range map[string]Input{
		"500 fat statuses": crowd(500, 10<<10, longName, nil),
		"500 fat statuses and complaints about health":  crowd(500, 10<<10, longName, complains),
		"500 fat statuses of units that cannot be read": crowd(500, 10<<10, longName, fails),
		"500 held units":                           crowd(500, 10<<10, longName, func(_ int, f *finding) { f.step.Held, f.step.Why.Message = true, "held by the mask" }),
		"100 fat statuses":                         crowd(100, 10<<10, longName, complains),
		"3 statuses, each too large for the whole": crowd(3, 1<<20, longName, complains),
		"one status, too large for the whole":      crowd(1, 4<<20, longName, nil),
	} {
		t.Run(name, func(t *testing.T) {
			status, _ := Status(in)
			if n := inEitherForm(t, longName, status); n >= budget {
				t.Errorf("%d KiB in %d units: %d bytes each", n>>10, len(in.Plan.Steps), n/len(in.Plan.Steps))
			}
			s := stored(t, status)
			e := s.Units[0]
			if e.Name == "" || e.Revision != "0123456789abcdef" && e.Code == "" || !e.Inventory || e.Health == "" {
				t.Errorf("what the plane needs is not there: %+v", e)
			}
		})
	}
}

func TestOrdinaryStatusesAreToldWhole(t *testing.T) {
	for units, bytes := range map[int]int{1: 200 << 10, 20: 10 << 10, 100: 1 << 10} {
		status, _ := Status(crowd(units, bytes*9/10, longName, nil))
		for _, e := range stored(t, status).Units {
			if e.RemoteStatusOmitted != "" {
				t.Fatalf("%d units with %d bytes each: %s", units, bytes, e.RemoteStatusOmitted)
			}
		}
	}
}

func TestWhatIsLeftOutIsTold(t *testing.T) {
	status, _ := Status(crowd(20, 64<<10, longName, nil))
	e := stored(t, status).Units[3]
	want := "conditions, images: too large to be told here; read the object in member " + longName + ", namespace " + longName
	if e.RemoteStatusOmitted != want {
		t.Errorf("%q, want %q", e.RemoteStatusOmitted, want)
	}
	if diff := cmp.Diff(map[string]any{"replicas": int64(3), "readyReplicas": int64(2), "availableReplicas": int64(2), "observedGeneration": int64(7)}, e.RemoteStatus); diff != "" {
		t.Errorf("what is small stays (-want +got):\n%s", diff)
	}
	status, _ = Status(crowd(500, 64<<10, longName[:50], nil))
	if e := stored(t, status).Units[3]; !strings.HasPrefix(e.RemoteStatusOmitted, "conditions") && e.RemoteStatusOmitted != "all" {
		t.Errorf("in a crowd: %q", e.RemoteStatusOmitted)
	}
}

func TestOneUnitsNewsChangesNoOthersEntry(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := make([]int, 40)
	for i := range sizes {
		sizes[i] = r.IntN(20 << 10)
	}
	with := func(i int, f *finding) { f.step.Observed.Object["status"] = fat(sizes[i]) }
	in := crowd(40, 0, longName, with)
	first, _ := Status(in)
	sizes[7], sizes[20] = 64<<10, 0
	in = crowd(40, 0, longName, with)
	in.Object.Status = stored(t, first)
	second, _ := Status(in)
	before, after := stored(t, first).Units, stored(t, second).Units
	for i := range before {
		if i != 7 && i != 20 && !cmp.Equal(before[i], after[i]) {
			t.Errorf("unit %d: %s", i, cmp.Diff(before[i], after[i]))
		}
	}
}

func TestWhatIsLeftOutDoesNotFlap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const units = 40
	in := crowd(units, 0, longName, nil)
	look := func(bytes int) federated.Status {
		in.Plan.Steps[0].Observed.Object["status"] = fat(bytes)
		status, _ := Status(in)
		return federated.Read(&unstructured.Unstructured{Object: map[string]any{"status": status}}).Status
	}
	fields := func(s federated.Status) string { return fmt.Sprint(slices.Sorted(maps.Keys(s.Units[0].RemoteStatus))) }
	var borders []int // sizes around which a unit that is seen for the first time is told more, or less
	for last, n := fields(look(0)), 0; n < 3*rationsOf(units, nil).share; n += 24 {
		if f := fields(look(n)); f != last {
			borders, last = append(borders, n), f
		}
	}
	if len(borders) < 2 {
		t.Fatalf("borders: %v", borders)
	}
	for _, border := range borders {
		for _, begin := range []int{-30, 30} {
			in.Object.Status = federated.Status{}
			in.Object.Status = look(border + begin)
			changes := 0
			for range 50 {
				sway := border + r.IntN(60) - 30 // counts and times in it change
				now := look(sway)
				if fields(now) != fields(in.Object.Status) {
					changes++
				}
				in.Object.Status = now
				if again := look(sway); !reflect.DeepEqual(again.Units, now.Units) {
					t.Fatalf("with %d bytes, the same findings make another status: %s", sway, cmp.Diff(now.Units, again.Units))
				}
			}
			if changes > 1 {
				t.Errorf("around %d bytes, fields came and went %d times", border, changes)
			}
		}
	}
}

func TestAMemberThatIsAwayKeepsWhatWasToldOfItsStatus(t *testing.T) {
	in := crowd(20, 64<<10, longName, nil)
	first, _ := Status(in)
	in.Object.Status = stored(t, first)
	for i := range in.Plan.Steps {
		s := &in.Plan.Steps[i]
		s.Action, s.Observed, s.Why = plan.Wait, nil, plan.Why{Code: plan.CodeClusterNotReady, Message: "away"}
	}
	second, _ := Status(in)
	before, after := stored(t, first).Units[0], stored(t, second).Units[0]
	if after.RemoteStatusOmitted != before.RemoteStatusOmitted || !cmp.Equal(before.RemoteStatus, after.RemoteStatus) {
		t.Errorf("%q %v, was %q %v", after.RemoteStatusOmitted, after.RemoteStatus, before.RemoteStatusOmitted, before.RemoteStatus)
	}
	in.Object.Status = stored(t, second)
	if third, _ := Status(in); !cmp.Equal(second, third) {
		t.Errorf("and again: %s", cmp.Diff(second, third))
	}
}

func TestTheRecordOfNewUnitsStaysInTheBudget(t *testing.T) {
	in := crowd(300, 10<<10, longName, nil)
	first, _ := Status(in)
	in = crowd(500, 10<<10, longName, nil)
	in.Object.Status = stored(t, first)
	for _, s := range in.Plan.Steps[300:] {
		in.Plan.Intent = append(in.Plan.Intent, s.Unit)
	}
	status := Intent(in)
	if n := inEitherForm(t, longName, status); n >= budget || len(stored(t, status).Units) != 500 {
		t.Errorf("%d KiB, %d units", n>>10, len(stored(t, status).Units))
	}
}

func TestSizeIsWhatAnAPIServerWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	texts := []string{"", "plain", "长é", "\"\\\n\t\b\f\r", "\x00\x1f\x7f", "<>&\u2028\u2029", "\xff\xfe", "a\xc3", strings.Repeat("x<", 50)}
	var value func(depth int) any
	value = func(depth int) any {
		switch n := r.IntN(10); {
		case n < 3:
			return texts[r.IntN(len(texts))]
		case n == 3:
			return r.Int64() >> r.IntN(64) * int64(1-2*r.IntN(2))
		case n == 4:
			return []any{nil, true, false, 1.5, int64(-1 << 63)}[r.IntN(5)]
		case n < 8 && depth > 0:
			m := map[string]any{}
			for range r.IntN(4) {
				m[texts[r.IntN(len(texts))]] = value(depth - 1)
			}
			return m
		case depth > 0:
			var l = []any{}
			for range r.IntN(4) {
				l = append(l, value(depth-1))
			}
			return l
		}
		return int64(7)
	}
	for range 5000 {
		v := value(4)
		exact := bytesOf(t, v)
		if got := size(v, budget); got != exact {
			t.Fatalf("%d, want %d: %#v", got, exact, v)
		}
		if limit := r.IntN(200); (size(v, limit) <= limit) != (exact <= limit) {
			t.Fatalf("with limit %d: %d, and is %d: %#v", limit, size(v, limit), exact, v)
		}
	}
}

func TestTextsAreCutToTheirRoom(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 300), strings.Repeat("长", 100), strings.Repeat("\x01", 100), strings.Repeat("a\xff", 100)} {
		for limit := range 120 {
			got := within(text, limit)
			if encoded(got) > max(limit, 0) || !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) || utf8.ValidString(text) && !utf8.ValidString(got) {
				t.Fatalf("within %d: %q takes %d", limit, got, encoded(got))
			}
		}
	}
}
