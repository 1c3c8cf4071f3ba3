package admission

import (
	"fmt"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/topology"
)

// selection is a placement or a mask.
type selection struct {
	key      string // in the spec
	there    bool
	named    bool
	refs     []ref
	selector labels.Selector
	path     *field.Path
	// listPath and selectorPath are where names and selector stand.
	listPath, selectorPath *field.Path
}

// overrideEntry is the overrides for one unit.
type overrideEntry struct {
	ref
	raw  []any
	path *field.Path // of raw
}

// view is a federated object of either form, read once in topology form.
type view struct {
	words
	namespace    string
	topologyType string
	template     map[string]any
	placement    selection
	mask         selection
	overrides    []overrideEntry
	faults       []fault
}

var specPath = field.NewPath("spec")

// read reads a federated object. It never fails: what cannot be read is a fault.
func read(obj *unstructured.Unstructured) *view {
	v := &view{words: wordsOf(obj.GroupVersionKind().Version), namespace: obj.GetNamespace(), topologyType: topology.TypeCluster}
	content := obj.Object
	if v.full {
		content = topology.ToTopologyForm(content)
	}
	spec, _ := v.object(content["spec"], specPath)
	switch t := spec["topologyType"].(type) {
	case nil:
	case string:
		if t != "" {
			v.topologyType = t
		}
	default:
		v.fault("topologyType", field.TypeInvalid(specPath.Child("topologyType"), t, "must be a string like cell"))
	}
	v.template, _ = v.object(spec["template"], specPath.Child("template"))
	if v.namespace == "" && v.topologyType != topology.TypeCluster {
		v.fault("units without namespace", field.Forbidden(specPath.Child("topologyType"),
			"units belong to namespaces, and "+obj.GetKind()+" is cluster-scoped: place it by cluster"))
		return v // no name in it can be judged
	}
	v.placement = v.selection(spec, "placement")
	v.mask = v.selection(spec, "placementMask")
	v.readOverrides(spec["overrides"], specPath.Child("overrides"))
	return v
}

func (v *view) fault(id string, err *field.Error) {
	v.faults = append(v.faults, newFault(id, err))
}

// object reads an object; null is like absent.
func (v *view) object(raw any, at *field.Path) (map[string]any, bool) {
	if raw == nil {
		return nil, false
	}
	m, ok := raw.(map[string]any)
	if !ok {
		v.fault(fmt.Sprint("type", at, raw), field.TypeInvalid(at, raw, "must be an object"))
	}
	return m, ok
}

func (v *view) list(raw any, at *field.Path) ([]any, bool) {
	if raw == nil {
		return nil, false
	}
	l, ok := raw.([]any)
	if !ok {
		v.fault(fmt.Sprint("type", at, raw), field.TypeInvalid(at, raw, "must be a list"))
	}
	return l, ok
}

func (v *view) selection(spec map[string]any, key string) selection {
	at := specPath.Child(key)
	m, ok := v.object(spec[key], at)
	s := selection{key: key, there: ok, path: at, listPath: at.Child(v.words.list), selectorPath: at.Child(v.words.selector)}
	var entries []any
	entries, s.named = v.list(m[topologyWords.list], s.listPath)
	for i, e := range entries {
		entryPath := s.listPath.Index(i)
		entry, ok := e.(map[string]any)
		if !ok {
			v.fault(fmt.Sprint(at, "entry", e), field.TypeInvalid(entryPath, e, "must be an object with a name"))
			continue
		}
		if r, ok := v.ref(at.String(), entry, "name", "name", entryPath); ok {
			s.refs = append(s.refs, r)
		}
	}
	v.readSelector(&s, m)
	return s
}

func (v *view) readSelector(s *selection, in map[string]any) {
	raw, has := in["topologySelector"]
	other, hasOther := in["clusterSelector"]
	has, hasOther = has && raw != nil, hasOther && other != nil
	at := s.path.String()
	switch {
	case has && hasOther:
		v.fault(at+"two selectors", field.Forbidden(s.path, "has both a clusterSelector and a topologySelector: keep the "+v.words.selector))
		return
	case hasOther && v.full:
		v.fault(at+"selector of others", field.Invalid(s.selectorPath, other, fmt.Sprintf(
			"would select units of other namespaces or types: its matchExpressions must end in %s, in this order",
			requirements(v.topologyType, v.namespace))))
		return
	case hasOther:
		v.fault(at+"clusterSelector", field.Forbidden(s.path.Child("clusterSelector"), "this form selects units: use topologySelector"))
		return
	case !has:
		return
	}
	parsed := &metav1.LabelSelector{}
	m, ok := raw.(map[string]any)
	if !ok {
		v.fault(fmt.Sprint(at, "selector", raw), field.TypeInvalid(s.selectorPath, raw, "must be a label selector"))
		return
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(m, parsed, true); err != nil {
		v.fault(at+"selector"+err.Error(), field.Invalid(s.selectorPath, raw, "must be a label selector: "+err.Error()))
		return
	}
	errs := metav1validation.ValidateLabelSelector(parsed, metav1validation.LabelSelectorValidationOptions{}, s.selectorPath)
	for _, err := range errs {
		v.fault(fmt.Sprint(at, "selector", err.Type, err.BadValue, err.Detail), err)
	}
	if selector, err := metav1.LabelSelectorAsSelector(parsed); err == nil && len(errs) == 0 {
		s.selector = selector
	}
}

func requirements(topologyType, namespace string) string {
	var out []string
	for _, r := range topology.SelectorRequirements(topologyType, namespace) {
		m := r.(map[string]any)
		out = append(out, fmt.Sprintf("{key: %v, operator: In, values: %v}", m["key"], m["values"]))
	}
	return strings.Join(out, " and ")
}

func (v *view) readOverrides(raw any, at *field.Path) {
	entries, _ := v.list(raw, at)
	for i, e := range entries {
		entryPath := at.Index(i)
		m, ok := e.(map[string]any)
		if !ok {
			v.fault(fmt.Sprint("override", e), field.TypeInvalid(entryPath, e, "must be an object with "+v.words.overrideName+" and "+v.words.overrides))
			continue
		}
		r, ok := v.ref("overrides", m, topologyWords.overrideName, v.words.overrideName, entryPath)
		if !ok {
			continue
		}
		opsPath := entryPath.Child(v.words.overrides)
		if other := m["clusterOverrides"]; other != nil {
			v.fault("ops of the other form"+r.name, field.Forbidden(entryPath, "has overrides of the other form: use "+v.words.overrides))
		}
		ops, _ := v.list(m[topologyWords.overrides], opsPath)
		v.overrides = append(v.overrides, overrideEntry{ref: r, raw: ops, path: opsPath})
	}
}

// ref reads an entry's name. The entry is in topology form: its own key holds a short name, or clusterName a full one.
// wrote is the key under which its author's form has names.
func (v *view) ref(where string, entry map[string]any, own, wrote string, at *field.Path) (ref, bool) {
	if name, ok := entry[own].(string); ok && name != "" {
		if len(entry) > 1 && entry["clusterName"] != nil {
			v.fault(where+"two names "+name, field.Forbidden(at, "has two names: keep "+wrote))
		}
		r := ref{name: name, path: at.Child(wrote)}
		r.good = v.judgeName(where, r, v.words.unit(name, v.namespace, v.topologyType))
		return r, true
	}
	full, ok := entry["clusterName"].(string)
	if !ok || full == "" {
		v.fault(fmt.Sprint(where, "no name", entry), field.Required(at.Child(wrote), "say which "+v.topologyType+" is meant"))
		return ref{}, false
	}
	short, mine := topology.ShortName(full, v.namespace, v.topologyType)
	if v.topologyType == topology.TypeCluster {
		short, mine = full, true
	}
	if mine {
		// The author wrote a name in the other form's words.
		v.fault(where+"verbatim "+full, field.Forbidden(at.Child(v.words.verbatim),
			fmt.Sprintf("use %s: %s", wrote, v.words.unit(short, v.namespace, v.topologyType))))
		return ref{name: short, good: len(topology.ValidateUnitName(short)) == 0, path: at.Child(v.words.verbatim)}, true
	}
	r := ref{name: full, path: at.Child(v.words.verbatim)}
	if v.full {
		r.path = at.Child(wrote)
	}
	v.fault(where+"foreign "+full, field.Forbidden(r.path, v.notOurs(full)))
	return r, true
}

// judgeName judges a name that is short in topology form, written in the author's own words as written.
func (v *view) judgeName(where string, r ref, written string) bool {
	if v.topologyType == topology.TypeCluster {
		return true // names of members are KubeFed's business: what does not exist is ignored, with a warning
	}
	problems := topology.ValidateUnitName(r.name)
	if len(problems) == 0 {
		return true
	}
	if strings.Contains(r.name, ".") && !v.full {
		if short, ok := topology.ShortName(r.name, v.namespace, v.topologyType); ok {
			v.fault(where+"name "+r.name, field.Invalid(r.path, written, "units go by their short names here: use "+short))
		} else {
			v.fault(where+"name "+r.name, field.Invalid(r.path, written, v.notOurs(r.name)))
		}
		return false
	}
	v.fault(where+"name "+r.name, field.Invalid(r.path, written, fmt.Sprintf("%q is no name of a unit: %s", r.name, strings.Join(problems, "; "))))
	return false
}

// notOurs says why a full name cannot be one of a unit of this object.
func (v *view) notOurs(full string) string {
	_, namespace, topologyType, ok := topology.ParseUnitClusterName(full)
	switch {
	case !ok:
		return fmt.Sprintf("%q is no unit of type %s in namespace %s: their names are <unit>%s", full, v.topologyType, v.namespace,
			topology.Suffix(v.namespace, v.topologyType))
	case namespace != v.namespace:
		return fmt.Sprintf("%q belongs to namespace %s: an object reaches only units of its own namespace, %s", full, namespace, v.namespace)
	default:
		return fmt.Sprintf("%q is of topology type %s, this object of %s", full, topologyType, v.topologyType)
	}
}

// withNamespace gives a federated object that does not say its namespace the one of its request: conversion reads
// nothing else.
func withNamespace(obj *unstructured.Unstructured, namespace string) *unstructured.Unstructured {
	if obj == nil || namespace == "" || obj.GetNamespace() != "" {
		return obj
	}
	out := &unstructured.Unstructured{Object: maps.Clone(obj.Object)}
	metadata, _ := obj.Object["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["namespace"] = namespace
	out.Object["metadata"] = metadata
	return out
}
