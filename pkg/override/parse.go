package override

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The operations that an override may ask for. An absent operation means Replace.
const (
	Add     = "add"
	Remove  = "remove"
	Replace = "replace"
)

// Op is one override.
type Op struct {
	// Op is Add, Remove or Replace; "" is Replace.
	Op string
	// Path is a JSON pointer (RFC 6901) into the object.
	Path string
	// Value is what stands at Path afterwards.
	Value any
	// HasValue tells whether the override said a value, null included.
	HasValue bool
}

// Kind is the operation with its default.
func (o Op) Kind() string {
	if o.Op == "" {
		return Replace
	}
	return o.Op
}

// Parse reads overrides[].clusterOverrides (or topologyOverrides) that stand at the given path. The values are not
// copied: Apply does that. Operations with an error are left out.
func Parse(raw []any, at *field.Path) ([]Op, field.ErrorList) {
	var errs field.ErrorList
	ops := make([]Op, 0, len(raw))
	seen := make(map[string]int, len(raw))
	for i, r := range raw {
		op, bad := parseOne(r, at.Index(i))
		errs = append(errs, bad...)
		if len(bad) != 0 {
			continue
		}
		if first, ok := seen[op.Path]; ok {
			dup := field.Duplicate(at.Index(i).Child("path"), op.Path)
			dup.Detail = fmt.Sprintf("the override at index %d has this path already: keep one of them", first)
			errs = append(errs, dup)
			continue
		}
		seen[op.Path] = i
		ops = append(ops, op)
	}
	return ops, errs
}

func parseOne(raw any, at *field.Path) (Op, field.ErrorList) {
	m, ok := raw.(map[string]any)
	if !ok {
		return Op{}, field.ErrorList{field.TypeInvalid(at, raw, "must be an object with path, op and value")}
	}
	var errs field.ErrorList
	var op Op
	switch p := m["path"].(type) {
	case string:
		op.Path = p
		if _, err := split(p); err != nil {
			errs = append(errs, field.Invalid(at.Child("path"), p, err.Error()))
		}
	case nil:
		errs = append(errs, field.Required(at.Child("path"), "say what to override, as in /spec/replicas"))
	default:
		errs = append(errs, field.TypeInvalid(at.Child("path"), p, "must be a string like /spec/replicas"))
	}
	switch o := m["op"].(type) {
	case nil:
	case string:
		op.Op = o
		if !slices.Contains([]string{Add, Remove, Replace}, op.Kind()) {
			errs = append(errs, field.NotSupported(at.Child("op"), o, []string{Add, Remove, Replace}))
		}
	default:
		errs = append(errs, field.TypeInvalid(at.Child("op"), o, "must be add, remove or replace"))
	}
	op.Value, op.HasValue = m["value"]
	return op, errs
}
