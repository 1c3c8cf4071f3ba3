package federated

import (
	"fmt"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// manyUnits is an object in so many units, with entries that say nothing among them.
func manyUnits(n int) *unstructured.Unstructured {
	entries := []any{nil, "text", map[string]any{}, map[string]any{"name": 1}}
	for i := range n {
		entries = append(entries, map[string]any{"name": fmt.Sprintf("u%d", i), "inventory": i%2 == 0, "cluster": "m", "revision": fmt.Sprint(i), "behind": int64(i)})
	}
	return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"clusters": append(entries, map[string]any{"name": "u0", "revision": "again"})}}}
}

func TestOneUnitIsReadAsAllAre(t *testing.T) {
	u := manyUnits(3)
	all := Read(u).Status
	for _, name := range []string{"u0", "u1", "u2", "nobody", ""} {
		want, wanted := all.Unit(name)
		if got, there := UnitOf(u, name); there != wanted || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v %v, want %+v %v", name, got, there, want, wanted)
		}
	}
	for _, status := range []any{nil, "text", map[string]any{"clusters": "text"}} {
		if _, there := UnitOf(&unstructured.Unstructured{Object: map[string]any{"status": status}}, "u0"); there {
			t.Errorf("%v says something of a unit", status)
		}
	}
}

// Leftovers are looked for copy by copy, and each asks the same object.
func TestReadingOneUnitOfManyTakesNoRoom(t *testing.T) {
	u := manyUnits(500)
	if n := testing.AllocsPerRun(10, func() { UnitOf(u, "u499") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOneUnitOfMany(b *testing.B) {
	u := manyUnits(500)
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			UnitOf(u, "u499")
		}
	})
	b.Run("with all", func(b *testing.B) {
		for b.Loop() {
			s := Read(u).Status
			s.Unit("u499")
		}
	})
}
