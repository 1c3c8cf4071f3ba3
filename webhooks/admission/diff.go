package admission

import (
	"reflect"
	"strings"
)

// patchOp is one operation of a JSON patch.
type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// diff is the JSON patch from one object to another. Lists are replaced whole: the door only ever appends to one.
func diff(before, after map[string]any) []patchOp {
	return diffAt("", before, after)
}

func diffAt(path string, before, after map[string]any) []patchOp {
	var out []patchOp
	for _, key := range sortedKeys(before) {
		if _, ok := after[key]; !ok {
			out = append(out, patchOp{Op: "remove", Path: path + "/" + escaped(key)})
		}
	}
	for _, key := range sortedKeys(after) {
		at := path + "/" + escaped(key)
		was, ok := before[key]
		if !ok {
			out = append(out, patchOp{Op: "add", Path: at, Value: after[key]})
			continue
		}
		a, aOK := was.(map[string]any)
		b, bOK := after[key].(map[string]any)
		switch {
		case aOK && bOK:
			out = append(out, diffAt(at, a, b)...)
		case !reflect.DeepEqual(was, after[key]):
			out = append(out, patchOp{Op: "replace", Path: at, Value: after[key]})
		}
	}
	return out
}

func escaped(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
