package override

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var seeds = []struct{ doc, ops string }{
	{`{"kind":"A","metadata":{"name":"n"},"spec":{"l":[1,2]}}`, `[{"path":"/spec/l/-1","value":3},{"op":"add","path":"/spec/l/-","value":null}]`},
	{`{"metadata":{"name":"n","labels":{"a":"b"}}}`, `[{"path":"/metadata","value":{"name":"m"}}]`},
	{`{"metadata":{"name":"n","labels":{"kubefed.io/managed":"true"}}}`, `[{"op":"remove","path":"/metadata/labels"}]`},
	{`{"a/b":{"~":[[]]}}`, `[{"op":"add","path":"/a~1b/~0/0/0","value":{"x":[]}},{"op":"remove","path":"/a~1b/~0/0"}]`},
	{`{"metadata":{}}`, `[{"path":"","value":{"kind":"x","metadata":{"uid":"1","finalizers":["f"]}}}]`},
	{`{"":{"":1}}`, `[{"path":"//","value":2},{"op":"remove","path":"/"}]`},
	{`{"a":[null,{"b":null}]}`, `[{"op":"remove","path":"/a/+0"},{"path":"/a/0/b/c"}]`},
}

// FuzzApply holds that applying never panics and never changes its input, that what changed the identity is named,
// and that the result is the one that KubeFed's library gives.
func FuzzApply(f *testing.F) {
	for _, s := range seeds {
		f.Add(s.doc, s.ops)
	}
	f.Fuzz(func(t *testing.T, text, rawOps string) {
		var before map[string]any
		var raw []any
		if json.Unmarshal([]byte(text), &before) != nil || json.Unmarshal([]byte(rawOps), &raw) != nil || before == nil {
			return
		}
		copied, rawCopy := deepCopy(before), deepCopy(raw)
		ops, errs := Parse(raw, field.NewPath("o"))
		judge := NewJudge(before)
		doc := deepCopy(judge.doc)
		judge.Validate(ops, field.NewPath("o"))
		if !reflect.DeepEqual(doc, any(judge.doc)) {
			t.Fatal("one cluster's overrides are left for the next")
		}
		after, err := Apply(before, ops)
		if !reflect.DeepEqual(copied, any(before)) || !reflect.DeepEqual(rawCopy, any(raw)) {
			t.Fatal("the input was changed")
		}
		if err == nil {
			checkIdentity(t, before, after)
		}
		if len(errs) == 0 {
			compare(t, before, ops, after, err)
		}
	})
}

// checkIdentity asks apimachinery's accessors, which know nothing of Escapes.
func checkIdentity(t *testing.T, before, after map[string]any) {
	named := len(Escapes(before, after)) != 0
	if b, a := describe(before), describe(after); !reflect.DeepEqual(a, b) && !named {
		t.Errorf("identity went from %v to %v, and Escapes named nothing", b, a)
	}
}

func describe(obj map[string]any) []any {
	u := unstructured.Unstructured{Object: obj}
	return []any{u.GetKind(), u.GetName(), u.GetNamespace(), u.GetGenerateName(), u.GetUID(), u.GetResourceVersion(),
		len(u.GetFinalizers()), len(u.GetOwnerReferences()), u.GetDeletionTimestamp() == nil}
}

func compare(t *testing.T, before map[string]any, ops []Op, after map[string]any, err error) {
	var patch []map[string]any
	for _, op := range ops {
		if op.Path == "" {
			return // KubeFed's library panics or errs here; nobody can rely on that.
		}
		patch = append(patch, map[string]any{"op": op.Kind(), "path": op.Path, "value": op.Value})
	}
	if patch == nil {
		return
	}
	text, _ := json.Marshal(before)
	patchText, _ := json.Marshal(patch)
	decoded, perr := jsonpatch.DecodePatch(patchText)
	if perr != nil {
		return
	}
	theirs, terr := applyTheirs(decoded, text)
	if terr != nil && strings.HasPrefix(terr.Error(), "panic") {
		return
	}
	if (err == nil) != (terr == nil) {
		t.Fatalf("KubeFed's library says %v, ours %v\n%s\n%s", terr, err, text, patchText)
	}
	if err != nil {
		return
	}
	var want map[string]any
	if json.Unmarshal(theirs, &want) == nil && !reflect.DeepEqual(want, after) {
		t.Fatalf("KubeFed's library gives %s, ours %v\n%s\n%s", theirs, after, text, patchText)
	}
}

// applyTheirs survives the library's panics.
func applyTheirs(p jsonpatch.Patch, doc []byte) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked{}
		}
	}()
	return p.Apply(doc)
}

type panicked struct{}

func (panicked) Error() string { return "panic" }

func BenchmarkApply(b *testing.B) {
	doc := object(b, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"a","labels":{"app":"web"}},
		"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"b"}]}]}}}}`)
	ops := []Op{{Path: "/spec/replicas", Value: int64(5)}, {Path: "/spec/template/spec/containers/0/image", Value: "j"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Apply(doc, ops); err != nil {
			b.Fatal(err)
		}
	}
}
