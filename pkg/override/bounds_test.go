package override

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// An object as large as the plane takes, and overrides as many as have room in it.
func TestOverridesThatMoveALongListAgainAndAgainAreRefusedInTime(t *testing.T) {
	long := make([]any, 400_000)
	for i := range long {
		long[i] = int64(i % 10)
	}
	template := map[string]any{"spec": map[string]any{"list": long}}
	for name, op := range map[string]func(i int) Op{
		"add":     func(i int) Op { return Op{Op: Add, Path: fmt.Sprintf("/spec/list/%d", i), Value: int64(1)} },
		"remove":  func(i int) Op { return Op{Op: Remove, Path: fmt.Sprintf("/spec/list/%d", i)} },
		"replace": func(i int) Op { return Op{Path: fmt.Sprintf("/spec/list/%d", i), Value: int64(1)} },
	} {
		t.Run(name, func(t *testing.T) {
			ops := make([]Op, 10_000)
			for i := range ops {
				ops[i] = op(i)
			}
			began := time.Now()
			_, err := Apply(template, ops)
			if err == nil || !strings.Contains(err.Error(), "replace the list as a whole") {
				t.Errorf("it says %v", err)
			}
			if errs := NewJudge(template).Validate(ops, field.NewPath("o")); len(errs) == 0 {
				t.Error("admission lets it in")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestTenThousandOverridesAreAppliedInTimeAndLittleMemory(t *testing.T) {
	data := map[string]any{}
	for i := range 10_000 {
		data[fmt.Sprintf("k%d", i)] = strings.Repeat("x", 60)
	}
	template := map[string]any{"data": data}
	ops := make([]Op, 10_000)
	for i := range ops {
		ops[i] = Op{Path: fmt.Sprintf("/data/k%d", i), Value: strings.Repeat("y", 60)}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	out, err := Apply(template, ops)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if err != nil || out["data"].(map[string]any)["k9999"] != ops[9999].Value {
		t.Fatalf("%v", err)
	}
	if took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 32 {
		t.Errorf("it took %d MiB", mib)
	}
}

// Overrides cannot copy: what they make is never longer than what was written.
func TestWhatOverridesMakeIsNoLongerThanWhatWasWritten(t *testing.T) {
	for _, op := range []string{"copy", "move", "test"} {
		_, errs := Parse([]any{map[string]any{"op": op, "from": "/spec", "path": "/spec/again"}}, field.NewPath("o"))
		if len(errs) == 0 {
			t.Errorf("%s is taken", op)
		}
	}
}
