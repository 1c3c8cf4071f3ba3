package render

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Op is one operation of a JSON patch (RFC 6902).
type Op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// maxOps keeps patches below what API servers take (10,000).
const maxOps = 5000

// Rebase makes the patch that brings a copy that somebody else changed meanwhile to what is asked, and touches nothing
// else. It begins with tests of what the decision to write rests on: that the copy is still the same object, still the
// plane's, and not going; each list that is replaced, lists having no keys, is tested to be as it was seen, and each
// field that is new to be still absent. So whatever else happens between the look and the patch, the patch fails as a
// whole or loses nothing of anybody's. No operation means that the copy is as asked. False means that the copy is not
// what the plan was made for any more.
//
// It is a JSON patch and not a merge patch because a merge patch has no tests: a copy that the member's people take out
// of the plane's hands in that instant would still be written, and lists would be replaced unseen.
func Rebase(in Input, fresh *unstructured.Unstructured) ([]Op, bool, error) {
	before := in.Observed
	if before == nil || fresh.GetUID() != before.GetUID() || fresh.GetDeletionTimestamp() != nil ||
		fresh.GetLabels()[wellknown.ManagedLabel] != wellknown.ManagedTrue || before.GetLabels()[wellknown.ManagedLabel] != wellknown.ManagedTrue {
		return nil, false, nil
	}
	mark := fresh.GetAnnotations()[wellknown.OwnerAnnotation]
	if mark == "" || mark != before.GetAnnotations()[wellknown.OwnerAnnotation] {
		return nil, false, nil
	}
	in.Observed = fresh
	desired, err := Desired(in)
	if err != nil {
		return nil, false, err
	}
	p := patch{}
	for _, part := range []string{"labels", "annotations"} {
		was, _, _ := unstructured.NestedMap(fresh.Object, "metadata", part)
		want, _, _ := unstructured.NestedMap(desired.Object, "metadata", part)
		p.maps([]string{"metadata", part}, was, want)
	}
	p.maps(nil, body(fresh), body(desired))
	if len(p) == 0 {
		return nil, true, nil
	}
	tests := patch{
		{"test", "/metadata/uid", string(fresh.GetUID())},
		{"test", "/metadata/deletionTimestamp", nil},
		{"test", pointer("metadata", "labels", wellknown.ManagedLabel), wellknown.ManagedTrue},
		{"test", pointer("metadata", "annotations", wellknown.OwnerAnnotation), mark},
	}
	return append(tests, p...), len(p) <= maxOps, nil
}

// body is what of an object is neither its identity nor its member's status.
func body(u *unstructured.Unstructured) map[string]any {
	out := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		switch k {
		case "apiVersion", "kind", "metadata", "status":
		default:
			out[k] = v
		}
	}
	return out
}

type patch []Op

// maps brings a map to what is wanted. What is not wanted goes, as with a PUT: the API server puts its defaults back.
func (p *patch) maps(path []string, was, want map[string]any) {
	keys := maps.Clone(want)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, was)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		w, wanted := want[k]
		h, there := was[k]
		at := append(slices.Clone(path), k)
		switch {
		case !wanted:
			p.guard(at, h)
			*p = append(*p, Op{"remove", pointer(at...), nil})
		case !there && w == nil, there && same(h, w):
		case !there:
			// What came meanwhile may be the member's.
			*p = append(*p, Op{"test", pointer(at...), nil}, Op{"add", pointer(at...), w})
		default:
			p.value(at, h, w)
		}
	}
}

func (p *patch) value(at []string, have, want any) {
	h, hOK := have.(map[string]any)
	w, wOK := want.(map[string]any)
	if hOK && wOK {
		p.maps(at, h, w)
		return
	}
	p.guard(at, have)
	*p = append(*p, Op{"add", pointer(at...), want})
}

// guard tests that a list is as it was seen before it is replaced.
func (p *patch) guard(at []string, have any) {
	if list, ok := have.([]any); ok {
		*p = append(*p, Op{"test", pointer(at...), list})
	}
}

func pointer(tokens ...string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1"))
	}
	return b.String()
}
