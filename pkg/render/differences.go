package render

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Differences names the fields of the plane's in which an observed object is not as another one, in order, at most so
// many. If the other one was confirmed by the member, every difference counts; if it is only what was asked for, what the
// member added is no difference, since it may be a default.
func (l Lens) Differences(observed, other *unstructured.Unstructured, confirmed bool, limit int) []string {
	d := differences{limit: limit, exact: true}
	was, is := l.content(other), l.content(observed)
	wasMeta, isMeta := was["metadata"].(map[string]any), is["metadata"].(map[string]any)
	delete(was, "metadata")
	delete(is, "metadata")
	for _, key := range []string{"labels", "annotations"} {
		d.compare("metadata."+key, plain(isMeta[key]), plain(wasMeta[key]))
	}
	if !same(isMeta["owner"], wasMeta["owner"]) {
		d.add("metadata.annotations[cellfed.io/owner]")
	}
	d.exact = confirmed
	d.compare("", is, was)
	return d.paths
}

// plain makes decoded JSON of a map of strings.
func plain(v any) any {
	m, ok := v.(map[string]string)
	if !ok {
		return v
	}
	out := make(map[string]any, len(m))
	for k, e := range m {
		out[k] = e
	}
	return out
}

type differences struct {
	paths []string
	limit int
	// exact: what only the observed object has is a difference too.
	exact bool
}

func (d *differences) add(path string) {
	if len(d.paths) < d.limit && !slices.Contains(d.paths, path) {
		d.paths = append(d.paths, path)
	}
}

var simple = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func (d *differences) compare(path string, is, was any) {
	if len(d.paths) >= d.limit || same(is, was) {
		return
	}
	switch w := was.(type) {
	case map[string]any:
		if i, ok := is.(map[string]any); ok {
			d.compareMaps(path, i, w)
			return
		}
		if is == nil && len(w) == 0 {
			return
		}
	case []any:
		i, ok := is.([]any)
		if ok && len(i) == len(w) {
			for n := range w {
				d.compare(fmt.Sprintf("%s[%s]", path, entryName(i[n], n)), i[n], w[n])
			}
			return
		}
		if is == nil && len(w) == 0 {
			return
		}
	case nil:
		if !d.exact {
			return
		}
	}
	d.add(path)
}

func (d *differences) compareMaps(path string, is, was map[string]any) {
	keys := maps.Clone(was)
	if d.exact {
		maps.Copy(keys, is)
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		at := k
		switch {
		case !simple.MatchString(k):
			at = path + "[" + k + "]"
		case path != "":
			at = path + "." + k
		}
		d.compare(at, is[k], was[k])
	}
}

func entryName(entry any, i int) string {
	if m, ok := entry.(map[string]any); ok {
		if name, ok := m["name"].(string); ok && name != "" {
			return name
		}
	}
	return fmt.Sprint(i)
}

// same compares decoded JSON; a whole number is the same however it was decoded.
func same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, there := y[k]; !there || !same(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, same)
	case int64:
		if y, ok := b.(float64); ok {
			return float64(x) == y
		}
	case float64:
		if y, ok := b.(int64); ok {
			return x == float64(y)
		}
	}
	return reflect.DeepEqual(a, b)
}
