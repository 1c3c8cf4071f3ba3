package override

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func decode(t testing.TB, s string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decoding %s: %v", s, err)
	}
	return v
}

func object(t testing.TB, s string) map[string]any { return decode(t, s).(map[string]any) }
func list(t testing.TB, s string) []any            { return decode(t, s).([]any) }

func TestApply(t *testing.T) {
	const doc = `{"kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3,"list":["a","b","c"],"a/b":1,"m~n":2,"none":null,"deep":[{"x":1}]}}`
	for name, c := range map[string]struct{ ops, want, err string }{
		"an absent operation replaces":                        {ops: `[{"path":"/spec/replicas","value":5}]`, want: `{"/spec/replicas":5}`},
		"replacing a missing last key adds it":                {ops: `[{"path":"/spec/paused","value":true}]`, want: `{"/spec/paused":true}`},
		"replacing under a missing parent is an error":        {ops: `[{"path":"/spec/strategy/type","value":"x"}]`, err: `there is no "/spec/strategy"`},
		"adding under a missing parent is an error":           {ops: `[{"op":"add","path":"/status/x","value":1}]`, err: `there is no "/status"`},
		"null is no parent":                                   {ops: `[{"op":"add","path":"/spec/none/x","value":1}]`, err: `there is no "/spec/none"`},
		"a number is no parent":                               {ops: `[{"op":"add","path":"/spec/replicas/x","value":1}]`, err: `neither an object nor a list`},
		"removing takes a key away":                           {ops: `[{"op":"remove","path":"/spec/replicas"}]`, want: `{"/spec/replicas":null}`},
		"removing what is missing is an error":                {ops: `[{"op":"remove","path":"/spec/paused"}]`, err: "nothing to remove"},
		"removing takes an element out of a list":             {ops: `[{"op":"remove","path":"/spec/list/1"}]`, want: `{"/spec/list":["a","c"]}`},
		"adding inserts before an index":                      {ops: `[{"op":"add","path":"/spec/list/1","value":"x"}]`, want: `{"/spec/list":["a","x","b","c"]}`},
		"adding at the length appends":                        {ops: `[{"op":"add","path":"/spec/list/3","value":"x"}]`, want: `{"/spec/list":["a","b","c","x"]}`},
		"adding beyond the length is an error":                {ops: `[{"op":"add","path":"/spec/list/4","value":"x"}]`, err: "outside the list"},
		"adding at - appends":                                 {ops: `[{"op":"add","path":"/spec/list/-","value":"x"}]`, want: `{"/spec/list":["a","b","c","x"]}`},
		"replacing at - is an error":                          {ops: `[{"path":"/spec/list/-","value":"x"}]`, err: "no index"},
		"replacing an element":                                {ops: `[{"path":"/spec/list/0","value":"x"}]`, want: `{"/spec/list":["x","b","c"]}`},
		"an index may count from the end":                     {ops: `[{"path":"/spec/list/-1","value":"x"}]`, want: `{"/spec/list":["a","b","x"]}`},
		"an index before the start is an error":               {ops: `[{"path":"/spec/list/-4","value":"x"}]`, err: "outside the list"},
		"a key is no index":                                   {ops: `[{"path":"/spec/list/a","value":"x"}]`, err: "no index"},
		"a path goes through lists":                           {ops: `[{"path":"/spec/deep/0/x","value":2}]`, want: `{"/spec/deep":[{"x":2}]}`},
		"~1 is a slash in a key":                              {ops: `[{"path":"/spec/a~1b","value":2}]`, want: `{"/spec/a~1b":2}`},
		"~0 is a tilde in a key":                              {ops: `[{"path":"/spec/m~0n","value":3}]`, want: `{"/spec/m~0n":3}`},
		"an absent value is null":                             {ops: `[{"op":"add","path":"/spec/replicas"}]`, want: `{"/spec/replicas":null}`},
		"the empty path is the whole object":                  {ops: `[{"path":"","value":{"a":1}}]`, want: `{"/a":1,"/spec":null}`},
		"the whole object cannot become a list":               {ops: `[{"path":"","value":[]}]`, err: "only be replaced by an object"},
		"the whole object cannot be removed":                  {ops: `[{"op":"remove","path":"","value":{}}]`, err: "only be replaced by an object"},
		"a path without a slash at its start is an error":     {ops: `[{"path":"spec","value":1}]`, err: "start with a slash"},
		"a ~ that stands for nothing is an error":             {ops: `[{"path":"/spec/a~~0","value":1}]`, err: "must be written ~0"},
		"a ~ at the end is an error":                          {ops: `[{"path":"/spec/~0~","value":1}]`, err: "must be written ~0"},
		"other operations are an error":                       {ops: `[{"op":"move","path":"/spec/a"}]`, err: "unknown operation"},
		"a later operation sees what an earlier one did":      {ops: `[{"op":"add","path":"/x","value":{}},{"op":"add","path":"/x/y","value":1}]`, want: `{"/x":{"y":1}}`},
		"the error says which of the operations did not work": {ops: `[{"path":"/spec/replicas","value":1},{"op":"remove","path":"/x"}]`, err: `override 1 (remove "/x")`},
	} {
		t.Run(name, func(t *testing.T) {
			var ops []Op
			for _, r := range list(t, c.ops) {
				m := r.(map[string]any)
				o := Op{Path: m["path"].(string), Value: m["value"]}
				o.Op, _ = m["op"].(string)
				ops = append(ops, o)
			}
			before := object(t, doc)
			after, err := Apply(before, ops)
			if d := cmp.Diff(object(t, doc), before); d != "" {
				t.Errorf("the input was changed:\n%s", d)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range object(t, c.want) {
				tokens, _ := split(p)
				var got any = after
				for _, key := range tokens {
					got = got.(map[string]any)[key]
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("at %s:\n%s", p, d)
				}
			}
		})
	}
}

func TestAResultSharesNoMemoryWithItsOverrides(t *testing.T) {
	value := map[string]any{"list": []any{int64(1)}}
	ops := []Op{{Op: Add, Path: "/x", Value: value}, {Op: Add, Path: "/x/list/-", Value: int64(2)}}
	for range 2 {
		out, err := Apply(map[string]any{}, ops)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]any{"x": map[string]any{"list": []any{int64(1), int64(2)}}}, out); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff(map[string]any{"list": []any{int64(1)}}, value); d != "" {
		t.Error(d)
	}
}

func TestParse(t *testing.T) {
	at := field.NewPath("spec", "overrides").Index(0).Child("clusterOverrides")
	for name, c := range map[string]struct{ raw, field, text string }{
		"no object":                    {`["x"]`, "spec.overrides[0].clusterOverrides[0]", "must be an object"},
		"no path":                      {`[{"value":1}]`, "spec.overrides[0].clusterOverrides[0].path", "say what to override"},
		"a path that is no string":     {`[{"path":1}]`, "spec.overrides[0].clusterOverrides[0].path", "must be a string"},
		"a path without a slash":       {`[{"path":"spec"}]`, "spec.overrides[0].clusterOverrides[0].path", "start with a slash"},
		"an operation of other RFCs":   {`[{"path":"/a"},{"path":"/b","op":"copy"}]`, "spec.overrides[0].clusterOverrides[1].op", `supported values: "add", "remove", "replace"`},
		"an operation of another type": {`[{"path":"/a","op":2}]`, "spec.overrides[0].clusterOverrides[0].op", "must be add"},
		"a path twice":                 {`[{"path":"/a"},{"path":"/a"}]`, "spec.overrides[0].clusterOverrides[1].path", "index 0"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			_, errs := Parse(list(t, c.raw), at)
			if len(errs) != 1 || errs[0].Field != c.field || !strings.Contains(errs[0].Error(), c.text) {
				t.Errorf("got %v, want one error at %s with %q", errs, c.field, c.text)
			}
		})
	}
	t.Run("null and absent values are told apart", func(t *testing.T) {
		got, errs := Parse(list(t, `[{"path":"/a","op":"add","value":null},{"path":"/b"}]`), at)
		want := []Op{{Op: Add, Path: "/a", HasValue: true}, {Path: "/b"}}
		if d := cmp.Diff(want, got); d != "" || errs != nil {
			t.Errorf("%v\n%s", errs, d)
		}
	})
}

func TestEscapes(t *testing.T) {
	const doc = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"a","uid":"u","resourceVersion":"1",
		"labels":{"kubefed.io/managed":"true","app":"web"},"annotations":{"cellfed.io/owner":"o"},"ownerReferences":[{"name":"x"}]},"spec":{}}`
	for name, c := range map[string]struct {
		ops  string
		want []string
	}{
		"content is not identity":          {`[{"path":"/spec/replicas","value":2},{"path":"/metadata/labels/app","value":"x"}]`, nil},
		"apiVersion may be another":        {`[{"path":"/apiVersion","value":"apps/v1beta2"}]`, nil},
		"apiVersion may not go":            {`[{"op":"remove","path":"/apiVersion"}]`, []string{"/apiVersion"}},
		"apiVersion stays a string":        {`[{"path":"/apiVersion","value":1}]`, []string{"/apiVersion"}},
		"kind":                             {`[{"path":"/kind","value":"Pod"}]`, []string{"/kind"}},
		"name":                             {`[{"path":"/metadata/name","value":"x"}]`, []string{"/metadata/name"}},
		"namespace":                        {`[{"op":"remove","path":"/metadata/namespace"}]`, []string{"/metadata/namespace"}},
		"generateName":                     {`[{"path":"/metadata/generateName","value":"x"}]`, []string{"/metadata/generateName"}},
		"uid":                              {`[{"path":"/metadata/uid","value":"x"}]`, []string{"/metadata/uid"}},
		"owner references":                 {`[{"path":"/metadata/ownerReferences/0/name","value":"y"}]`, []string{"/metadata/ownerReferences"}},
		"finalizers":                       {`[{"path":"/metadata/finalizers","value":["x"]}]`, []string{"/metadata/finalizers"}},
		"empty finalizers are none":        {`[{"path":"/metadata/finalizers","value":[]}]`, nil},
		"resourceVersion":                  {`[{"path":"/metadata/resourceVersion","value":"2"}]`, []string{"/metadata/resourceVersion"}},
		"managedFields":                    {`[{"path":"/metadata/managedFields","value":[{}]}]`, []string{"/metadata/managedFields"}},
		"deletionTimestamp":                {`[{"path":"/metadata/deletionTimestamp","value":"x"}]`, []string{"/metadata/deletionTimestamp"}},
		"the managed label":                {`[{"path":"/metadata/labels/kubefed.io~1managed","value":"false"}]`, []string{"/metadata/labels/kubefed.io~1managed"}},
		"the managed label, with all":      {`[{"path":"/metadata/labels","value":{"a":"b"}}]`, []string{"/metadata/labels/kubefed.io~1managed"}},
		"the owner annotation":             {`[{"op":"remove","path":"/metadata/annotations"}]`, []string{"/metadata/annotations/cellfed.io~1owner"}},
		"a name by way of the metadata":    {`[{"path":"/metadata","value":{"name":"x","namespace":"a","uid":"u","resourceVersion":"1","labels":{"kubefed.io/managed":"true"},"annotations":{"cellfed.io/owner":"o"},"ownerReferences":[{"name":"x"}]}}]`, []string{"/metadata/name"}},
		"a name by way of the whole thing": {`[{"path":"","value":{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"a","uid":"u","resourceVersion":"1","labels":{"kubefed.io/managed":"true"},"annotations":{"cellfed.io/owner":"o"},"ownerReferences":[{"name":"x"}]}}}]`, []string{"/metadata/name"}},
	} {
		t.Run(name, func(t *testing.T) {
			ops, errs := Parse(list(t, c.ops), field.NewPath("o"))
			if errs != nil {
				t.Fatal(errs)
			}
			before := object(t, doc)
			after, err := Apply(before, ops)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, Escapes(before, after)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	at := field.NewPath("spec", "overrides").Index(2).Child("topologyOverrides")
	const template = `{"metadata":{"labels":{"app":"web"}},"spec":{"replicas":1}}`
	for name, c := range map[string]struct{ template, ops, field, text string }{
		"an override of the template is good":      {template, `[{"path":"/spec/replicas","value":2}]`, "", ""},
		"a template without metadata has a name":   {`{"spec":{}}`, `[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`, "", ""},
		"no template is an empty one":              {`{}`, `[{"path":"/data","value":{"a":"b"}}]`, "", ""},
		"a path that leads nowhere":                {template, `[{"path":"/a","value":1},{"path":"/spec/x/y","value":2}]`, "spec.overrides[2].topologyOverrides[1].path", `there is no "/spec/x"`},
		"removing what the template does not have": {template, `[{"op":"remove","path":"/spec/paused"}]`, "spec.overrides[2].topologyOverrides[0].path", "nothing to remove"},
		"a path that KubeFed forbids":              {template, `[{"path":"/metadata/name","value":"name"}]`, "spec.overrides[2].topologyOverrides[0].path", "remove this override"},
		"an escape by way of the metadata":         {template, `[{"path":"/metadata","value":{}}]`, "spec.overrides[2].topologyOverrides", "change /metadata/name"},
		"the plane's mark":                         {template, `[{"path":"/metadata/labels/kubefed.io~1managed","value":"false"}]`, "spec.overrides[2].topologyOverrides", "kubefed.io~1managed"},
		"labels that are no strings":               {template, `[{"path":"/metadata/labels/app","value":true}]`, "spec.overrides[2].topologyOverrides", "/metadata/labels"},
		"annotations that are no object":           {template, `[{"path":"/metadata/annotations","value":"x"}]`, "spec.overrides[2].topologyOverrides", "/metadata/annotations"},
	} {
		t.Run(name, func(t *testing.T) {
			ops, errs := Parse(list(t, c.ops), at)
			if errs != nil {
				t.Fatal(errs)
			}
			template := object(t, c.template)
			judge := NewJudge(template)
			copied := deepCopy(judge.doc)
			errs = judge.Validate(ops, at)
			if !reflect.DeepEqual(copied, any(judge.doc)) || !reflect.DeepEqual(template, object(t, c.template)) {
				t.Errorf("one cluster's overrides are left for the next: %v", judge.doc)
			}
			if c.field == "" {
				if len(errs) != 0 {
					t.Errorf("refused: %v", errs)
				}
				return
			}
			if !slices.ContainsFunc(errs, func(e *field.Error) bool { return e.Field == c.field && strings.Contains(e.Error(), c.text) }) {
				t.Errorf("got %v, want an error at %s with %q", errs, c.field, c.text)
			}
		})
	}
}

func TestALargeTemplateIsNotCopiedForEachCluster(t *testing.T) {
	data := map[string]any{}
	for i := range 10000 {
		data[strconv.Itoa(i)] = map[string]any{"a": "b"}
	}
	judge := NewJudge(map[string]any{"data": data, "list": []any{map[string]any{}}})
	ops, _ := Parse(list(t, `[{"path":"/data/7","value":1},{"path":"/data/8/a","value":1},{"op":"add","path":"/list/-","value":1}]`), field.NewPath("o"))
	allocations := testing.AllocsPerRun(10, func() {
		if errs := judge.Validate(ops, field.NewPath("o")); len(errs) != 0 {
			t.Fatal(errs)
		}
	})
	if allocations > 1000 {
		t.Errorf("judging three overrides allocates %v times: the template is copied", allocations)
	}
}

func TestAnOperationErrorCanBeAskedForItsIndex(t *testing.T) {
	_, err := Apply(nil, []Op{{Path: "/a"}, {Op: Remove, Path: "/b"}})
	var bad *OpError
	if !errors.As(err, &bad) || bad.Index != 1 {
		t.Errorf("got %v", err)
	}
}

func TestIntegersStayIntegers(t *testing.T) {
	out, err := Apply(map[string]any{"n": int64(1) << 60}, []Op{{Path: "/m", Value: int64(7)}})
	if want := (map[string]any{"n": int64(1) << 60, "m": int64(7)}); err != nil || !reflect.DeepEqual(out, want) {
		t.Errorf("%v %v", out, err)
	}
}
