package member

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

func TestATextIsWeighedAsHeavyAsWhatItBecomes(t *testing.T) {
	for name, text := range map[string]string{
		"ordinary":    `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"web","labels":{"a":"b"}},"data":{"x":"` + strings.Repeat("y", 1000) + `"}}`,
		"maps":        `{"l":[` + strings.Repeat(`{"a":1},`, 10_000) + `{}]}`,
		"nested maps": `{"l":[` + strings.Repeat(`{"a":{"b":{"c":1}}},`, 10_000) + `{}]}`,
		"empty lists": `{"l":[` + strings.Repeat(`[],`, 10_000) + `[]]}`,
		"numbers":     `{"l":[` + strings.Repeat(`1234567,`, 10_000) + `1]}`,
		"quotes":      `{"l":"` + strings.Repeat(`\"{[,:`, 10_000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			raw := []byte(text)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var v map[string]any
			if err := utiljson.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			took := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			if w := weighRaw(raw); took > w+w/4+64<<10 {
				t.Errorf("%d bytes were weighed as %d and took %d", len(raw), w, took)
			}
			if w := weigh(v); took > w+w/2+64<<10 {
				t.Errorf("%d bytes, decoded, were weighed as %d and took %d", len(raw), w, took)
			}
			runtime.KeepAlive(v)
		})
	}
}

// FuzzEvent holds that no event of a watch makes a view panic.
func FuzzEvent(f *testing.F) {
	for _, object := range []string{`{}`, `null`, `7`, `{"metadata":7}`, `{"metadata":{"labels":[]}}`, `{"kind":7,"apiVersion":[]}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"o","uid":"1","resourceVersion":"9","labels":{"kubefed.io/managed":"true"}}}`} {
		f.Add("ADDED", object)
		f.Add("BOOKMARK", object)
		f.Add("ERROR", object)
	}
	fleet := NewFleet(f.Context(), Options{})
	fleet.Expect(someKind, Expectation{Kind: "ConfigMap", Namespaced: true})
	f.Fuzz(func(t *testing.T, kind, object string) {
		m := &Member{fleet: fleet, name: "m", opts: fleet.opts, ctx: t.Context()}
		v := newView(m, someKind)
		if version, err := v.event(frame{Type: kind, Object: json.RawMessage(object)}, "5"); err == nil && version == "" {
			t.Error("it goes on from nowhere")
		}
		for _, u := range v.List() {
			if u.GetName() == "" || u.GetUID() == "" || u.GetNamespace() == "" {
				t.Errorf("the view shows %v", u)
			}
		}
	})
}

var someKind = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
