package override

import (
	"errors"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// identity are the fields that make an object the one it is, and those by which the plane and its member keep track
// of it.
var identity = [][]string{
	{"kind"},
	{"metadata", "name"},
	{"metadata", "namespace"},
	{"metadata", "generateName"},
	{"metadata", "uid"},
	{"metadata", "ownerReferences"},
	{"metadata", "finalizers"},
	{"metadata", "resourceVersion"},
	{"metadata", "managedFields"},
	{"metadata", "creationTimestamp"},
	{"metadata", "deletionTimestamp"},
	{"metadata", "deletionGracePeriodSeconds"},
	{"metadata", "labels", wellknown.ManagedLabel},
	{"metadata", "annotations", wellknown.OwnerAnnotation},
}

// Escapes names the parts of an object's identity in which after differs from before, as JSON pointers. It judges
// the result, whatever the paths of the overrides said. Absent, null and empty are the same. An apiVersion may become
// another one, as in KubeFed, but not disappear. The plane's marks must stand in both objects or in neither.
func Escapes(before, after map[string]any) []string {
	var out []string
	for _, path := range identity {
		if !reflect.DeepEqual(at(before, path), at(after, path)) {
			out = append(out, join(path))
		}
	}
	if v, ok := after["apiVersion"].(string); at(before, []string{"apiVersion"}) != nil && (!ok || v == "") {
		out = append(out, "/apiVersion")
	}
	return out
}

// at gives what stands at a path; nothing, null and empty values are nil.
func at(obj map[string]any, path []string) any {
	var v any = obj
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	switch c := v.(type) {
	case string:
		if c == "" {
			return nil
		}
	case []any:
		if len(c) == 0 {
			return nil
		}
	case map[string]any:
		if len(c) == 0 {
			return nil
		}
	}
	return v
}

// forbidden are the paths that KubeFed refuses by name.
var forbidden = []string{"/metadata/namespace", "/metadata/name", "/metadata/generateName", "/kind"}

// Judge judges the overrides of one cluster after the other against one template. The template is copied once, and
// what each cluster's overrides did to it is taken back: an object has room for thousands of clusters, and a copy of
// a large template for each of them holds up the API server for minutes.
type Judge struct {
	before, doc map[string]any
}

// NewJudge makes the judge of a template.
func NewJudge(template map[string]any) *Judge {
	doc := identified(template)
	before := map[string]any{"apiVersion": doc["apiVersion"], "kind": doc["kind"], "metadata": deepCopy(doc["metadata"])}
	return &Judge{before: before, doc: doc}
}

// Validate judges the overrides of one cluster, which Parse read from the given path without an error. What fails here
// would fail at every creation in a member: it is refused while its author looks on.
func (j *Judge) Validate(ops []Op, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, op := range ops {
		if slices.Contains(forbidden, op.Path) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("path"),
				"an override may not change "+op.Path+": remove this override"))
		}
	}
	if len(errs) != 0 {
		return errs
	}
	done := &journal{keep: true}
	defer done.undo()
	after, err := done.apply(j.doc, ops)
	if bad := (*OpError)(nil); errors.As(err, &bad) {
		return field.ErrorList{field.Invalid(path.Index(bad.Index).Child("path"), bad.Op.Path,
			"does not apply to the template: "+bad.Why.Error())}
	}
	for _, what := range Escapes(j.before, after) {
		errs = append(errs, field.Forbidden(path, "together these overrides change "+what+", which is the plane's: remove that part"))
	}
	for _, key := range []string{"labels", "annotations"} {
		where := []string{"metadata", key}
		if stringsOnly(at(j.before, where)) && !stringsOnly(at(after, where)) {
			errs = append(errs, field.Forbidden(path, "together these overrides make /metadata/"+key+" something else than strings by name"))
		}
	}
	return errs
}

// identified gives the template as an object: overrides are applied when it has a name.
func identified(template map[string]any) map[string]any {
	obj, _ := deepCopy(template).(map[string]any)
	if obj == nil {
		obj = map[string]any{}
	}
	meta, _ := obj["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	meta["name"], meta["namespace"] = "name", "namespace"
	obj["metadata"] = meta
	for _, key := range []string{"apiVersion", "kind"} {
		if s, ok := obj[key].(string); !ok || s == "" {
			obj[key] = "v1"
		}
	}
	return obj
}

func stringsOnly(v any) bool {
	if v == nil {
		return true
	}
	m, ok := v.(map[string]any)
	for _, e := range m {
		if _, isString := e.(string); !isString {
			return false
		}
	}
	return ok
}
