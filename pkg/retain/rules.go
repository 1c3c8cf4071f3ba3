package retain

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// mode says when a field is the member's.
type mode string

const (
	// always: whatever the template says.
	always mode = "always"
	// unlessGiven: where the template says nothing.
	unlessGiven mode = "unless given"
	// atLeast: where the member has more than the template says. The field is a quantity.
	atLeast mode = "at least"
)

// rule is about one field, or many, of a kind.
type rule struct {
	path path
	mode mode
	// keys are by what entries of a list are matched; none = by name where all have one, else by index.
	keys []string
	// once: the member sets the field when the object is made, and it does not change by itself afterwards. It is kept,
	// but its changing is drift: so nobody needs to know what was asked to tell what is drift.
	once bool
	// noParents: the field is kept only where the template has what it stands in.
	noParents bool
	// condition must be in the object, with the value if there is one, for the field to be the member's.
	condition      path
	conditionValue string
}

// Rules are the fields of one kind that belong to the member.
type Rules struct {
	fields []rule
}

// For are the rules of a kind: the built-in ones, those that its FederatedTypeConfig lists, and replicas where the
// federated object leaves them to the members.
func For(kind schema.GroupKind, listed Pointers, replicas bool) Rules {
	own := builtin[kind]
	if len(own) == 0 && listed.Empty() && !replicas {
		return Rules{}
	}
	r := Rules{fields: slices.Clone(own)}
	for _, p := range listed.fields {
		r.fields = append(r.fields, rule{path: p, mode: always})
	}
	if replicas {
		r.fields = append(r.fields, at("spec", "replicas"))
	}
	return r
}

// Drifting tells whether there are fields whose changing is no drift.
func (r Rules) Drifting() bool {
	return slices.ContainsFunc(r.fields, func(f rule) bool { return !f.once })
}

// Conditional tells whether what is drift depends on what was asked for.
func (r Rules) Conditional() bool {
	return slices.ContainsFunc(r.fields, func(f rule) bool { return !f.once && f.mode == unlessGiven })
}

// String names what is no drift: rules of equal names strip equally.
func (r Rules) String() string {
	var words []string
	for _, f := range r.fields {
		if !f.once {
			words = append(words, strings.Join([]string{join(f.path), string(f.mode), join(f.condition), f.conditionValue}, " "))
		}
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), "\n")
}

// Apply puts what is the member's of an observed object into a desired one, which it changes.
func (r Rules) Apply(desired, observed map[string]any) {
	for i := range r.fields {
		if f := &r.fields[i]; f.holds(desired) {
			f.apply(desired, observed, 0)
		}
	}
}

// Strip takes what is the member's out of an observed object, which it changes. Asked is what was asked for, rendered
// without anything observed; nil = nobody knows, and no field counts as given.
func (r Rules) Strip(content, asked map[string]any) {
	var given any
	if asked != nil {
		given = asked
	}
	for i := range r.fields {
		if f := &r.fields[i]; !f.once && f.holds(content) {
			f.strip(content, given, 0)
		}
	}
}

func (f *rule) holds(obj map[string]any) bool {
	if f.condition == nil {
		return true
	}
	var v any = obj
	for _, key := range f.condition {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	if f.conditionValue != "" {
		return v == f.conditionValue
	}
	return given(v)
}

// apply hands back the desired value with what is the member's in it; nil = there is none.
func (f *rule) apply(desired, observed any, depth int) any {
	switch o := observed.(type) {
	case map[string]any:
		if desired == nil && !f.noParents {
			desired = map[string]any{}
		}
		d, ok := desired.(map[string]any)
		if !ok {
			return desired
		}
		return f.applyMap(d, o, depth)
	case []any:
		token, last := f.path[depth], depth == len(f.path)-1
		if desired == nil && last && token == "*" && !f.noParents {
			return runtime.DeepCopyJSONValue(o)
		}
		d, ok := desired.([]any)
		if !ok {
			return desired
		}
		return f.applyList(d, o, depth)
	}
	return desired
}

func (f *rule) applyMap(d, o map[string]any, depth int) any {
	token, last := f.path[depth], depth == len(f.path)-1
	for key, value := range o {
		if _, both := d[key]; token != key && (token != "*" || !last && !both) {
			continue
		}
		if last {
			d[key] = f.choose(d[key], value)
		} else if child := f.apply(d[key], value, depth+1); child != nil {
			d[key] = child
		}
	}
	if len(d) == 0 && depth > 0 {
		return nil
	}
	return d
}

func (f *rule) applyList(d, o []any, depth int) any {
	token, last := f.path[depth], depth == len(f.path)-1
	match := f.match(d, o)
	taken := make([]bool, len(o))
	for i, j := range match {
		if j >= 0 {
			taken[j] = true
		}
		if j < 0 || token != "*" && !named(d, i, token) {
			continue
		}
		if last {
			d[i] = f.choose(d[i], o[j])
		} else if child := f.apply(d[i], o[j], depth+1); child != nil {
			d[i] = child
		}
	}
	if last && token == "*" {
		for j := range o {
			if !taken[j] {
				d = append(d, runtime.DeepCopyJSONValue(o[j]))
			}
		}
	}
	return d
}

func (f *rule) choose(desired, observed any) any {
	switch {
	case f.mode == unlessGiven && given(desired), f.mode == atLeast && !more(observed, desired):
		return desired
	}
	return runtime.DeepCopyJSONValue(observed)
}

// strip hands back what is left of a value; nil = nothing.
func (f *rule) strip(content, asked any, depth int) any {
	token, last := f.path[depth], depth == len(f.path)-1
	switch c := content.(type) {
	case map[string]any:
		a, _ := asked.(map[string]any)
		for key, value := range c {
			if token != "*" && token != key {
				continue
			}
			var left any
			switch {
			case last && f.mode == unlessGiven && given(a[key]):
				left = value
			case !last:
				left = f.strip(value, a[key], depth+1)
			}
			if left == nil {
				delete(c, key)
			} else {
				c[key] = left
			}
		}
		if len(c) == 0 {
			return nil
		}
	case []any:
		a, _ := asked.([]any)
		return f.stripList(c, a, depth)
	}
	return content
}

func (f *rule) stripList(c, asked []any, depth int) any {
	token, last := f.path[depth], depth == len(f.path)-1
	match := f.match(c, asked)
	left := make([]any, 0, len(c))
	for i, value := range c {
		var want any
		if j := match[i]; j >= 0 {
			want = asked[j]
		}
		switch {
		case token != "*" && !named(c, i, token):
		case !last:
			if value = f.strip(value, want, depth+1); value == nil {
				value = map[string]any{} // an entry has a place
			}
		case f.mode == unlessGiven && given(want):
		default:
			continue
		}
		left = append(left, value)
	}
	if len(left) == 0 {
		return nil
	}
	return left
}

// given tells whether a template says something. A line break in base64 is what generators of webhook configurations
// write where a certificate is to be filled in.
func given(v any) bool {
	switch c := v.(type) {
	case nil:
		return false
	case string:
		return c != "" && c != "Cg=="
	case []any:
		return len(c) > 0
	case map[string]any:
		return len(c) > 0
	}
	return true
}

func more(a, b any) bool {
	x, errX := quantity(a)
	y, errY := quantity(b)
	return errX == nil && (errY != nil || x.Cmp(y) > 0)
}

func quantity(v any) (resource.Quantity, error) {
	s, ok := v.(string)
	if !ok {
		return resource.Quantity{}, resource.ErrFormatWrong
	}
	return resource.ParseQuantity(s)
}
