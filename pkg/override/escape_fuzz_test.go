package override

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/override/overridetest"
)

// mustNotEscape throws the dice once.
func mustNotEscape(t testing.TB, bytes []byte) {
	d := overridetest.New(bytes)
	before := d.Object()
	raw := d.Overrides()
	kept, rawKept := deepCopy(before), deepCopy(raw)
	parsed, _ := Parse(raw, field.NewPath("o"))
	after, err := Apply(before, parsed)
	if !reflect.DeepEqual(kept, any(before)) || !reflect.DeepEqual(rawKept, any(raw)) {
		t.Fatalf("the input was changed: %s", text(raw))
	}
	judge := NewJudge(map[string]any{"spec": before["spec"]})
	judge.Validate(parsed, field.NewPath("o"))
	if err != nil || len(Escapes(before, after)) != 0 {
		return // refused
	}
	if was, is := self(before), self(after); !reflect.DeepEqual(was, is) {
		t.Fatalf("%s\nmade of %v\n%v, and nothing was said of it", text(raw), was, is)
	}
}

// self reads an object's identity by hand: what an API server would take for it, whatever its type. Empty is absent.
func self(obj map[string]any) map[string]string {
	out := map[string]string{"kind": text(obj["kind"])}
	metadata, ok := obj["metadata"].(map[string]any)
	if !ok {
		out["metadata"] = text(obj["metadata"])
		return out
	}
	for _, key := range []string{"name", "namespace", "generateName", "uid", "resourceVersion", "ownerReferences", "finalizers", "managedFields",
		"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		v := metadata[key]
		if s := text(v); s != "null" && s != `""` && s != "[]" && s != "{}" {
			out[key] = s
		}
	}
	for where, key := range map[string]string{"labels": wellknown.ManagedLabel, "annotations": wellknown.OwnerAnnotation} {
		if m, ok := metadata[where].(map[string]any); ok {
			if s := text(m[key]); s != "null" && s != `""` && s != "[]" && s != "{}" {
				out[key] = s
			}
		}
	}
	return out
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return string(raw)
}

// FuzzEscape holds that no overrides change what an object is without being refused.
func FuzzEscape(f *testing.F) {
	for _, seed := range [][]byte{nil, {0}, {1, 1, 0, 5, 1, 4, 3}, []byte("metadata"), {0, 0, 1, 0, 1, 8, 2, 6, 9, 8, 7}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) { mustNotEscape(t, bytes) })
}

func TestNoOverridesOfAThrowOfDiceEscape(t *testing.T) {
	const throws = 30_000
	random := rand.New(rand.NewPCG(2026, 11)) //nolint:gosec // the same throws each time
	for range throws {
		bytes := make([]byte, 8+random.IntN(56))
		for i := range bytes {
			bytes[i] = byte(random.IntN(256))
		}
		mustNotEscape(t, bytes)
	}
}

func TestPathsThatBendThePointerDoNotEscape(t *testing.T) {
	for _, value := range []any{nil, "x", int64(1), []any{}, []any{"x"}, map[string]any{}, map[string]any{"name": "x", "uid": "u", "kind": "x"},
		map[string]any{"metadata": map[string]any{"name": "x"}}} {
		for _, path := range append([]string{"", "/", "//", "/-", "/metadata", "/metadata/", "/metadata/-", "/metadata/0", "/metadata/ownerReferences",
			"/metadata/ownerReferences/-", "/metadata/ownerReferences/0", "/metadata/finalizers/-", "/metadata/finalizers/0", "/metadata/finalizers/-1",
			"/metadata/labels/kubefed.io~1managed", "/metadata/annotations/cellfed.io~1owner", "/metadata~1name", "/~0metadata", "/~1", "/~01"}, overridetest.Tokens...) {
			for _, op := range overridetest.Ops {
				raw := []any{map[string]any{"op": op, "path": path, "value": value}}
				before := overridetest.New([]byte{0, 0}).Object()
				parsed, _ := Parse(raw, field.NewPath("o"))
				after, err := Apply(before, parsed)
				if err == nil && len(Escapes(before, after)) == 0 && !reflect.DeepEqual(self(before), self(after)) {
					t.Errorf("%s: %v became %v", text(raw), self(before), self(after))
				}
			}
		}
	}
}
