package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/placement"
	"github.com/cellfed/cellfed/pkg/topology"
)

// rollback is a spec made from a revision, and what comes of it in each unit.
type rollback struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Revision  string `json:"revision"`
	// Mask says in words where anything may change afterwards.
	Mask string `json:"mask"`
	// Changed tells that the spec becomes another one.
	Changed bool `json:"changed"`
	// DryRun is none, client or server.
	DryRun string         `json:"dryRun,omitempty"`
	Units  []rolledUnit   `json:"units"`
	Spec   map[string]any `json:"spec"`
	// APIVersion is the form that Spec is written in.
	APIVersion string `json:"apiVersion"`

	object *unstructured.Unstructured
}

// rolledUnit is what comes of it in one unit.
type rolledUnit struct {
	Name string `json:"name"`
	Now  string `json:"now,omitempty"`
	Then string `json:"then,omitempty"`
	Why  string `json:"why"`
}

// rollbackTo makes the spec that a revision's content gives.
//
// The units that the new mask admits get the revision exactly, overrides included. Without a new mask these are the
// units that run the revision now. All others keep the overrides they have, of which only the mask tells when they count.
type rollbackTo struct {
	target   *target
	revision string
	content  *federated.Content
	// mask is the new mask in topology form; nil = it stays as it is.
	mask map[string]any
	// candidates are the units, or members, that selectors select among.
	candidates []placement.Unit
}

// maskOf says names as a mask of the topology form.
func (t *target) maskOf(names []string) (map[string]any, error) {
	entries := make([]any, 0, len(names))
	for _, name := range names {
		full := t.full(name)
		if t.object.TopologyType != topology.TypeCluster {
			if _, _, _, ok := topology.ParseUnitClusterName(full); !ok {
				return nil, usagef("--mask: %s is no name of a unit of type %s in namespace %s", name, t.object.TopologyType, t.object.Namespace)
			}
		}
		entry := map[string]any{"name": t.short(full)}
		if !slices.ContainsFunc(entries, func(e any) bool { return e.(map[string]any)["name"] == entry["name"] }) {
			entries = append(entries, entry)
		}
	}
	return map[string]any{"topologies": entries}, nil
}

// maskBy says a label selector, as kubectl's -l has it, as a mask of the topology form.
func maskBy(selector string) (map[string]any, error) {
	parsed, err := metav1.ParseToLabelSelector(selector)
	if err != nil {
		return nil, usagef("--mask-selector: %v", err)
	}
	said, err := runtime.DefaultUnstructuredConverter.ToUnstructured(parsed)
	if err != nil {
		return nil, fmt.Errorf("encoding the mask: %w", err)
	}
	return map[string]any{"topologySelector": said}, nil
}

// plan makes the new object, and refuses what would not be exact.
func (r rollbackTo) plan() (*rollback, error) {
	before := r.target.object
	if err := r.refuse(); err != nil {
		return nil, err
	}
	// Where the new mask reaches is read before anything else: it decides whose overrides become the revision's.
	masked := (&unstructured.Unstructured{Object: topology.ToClusterForm(r.target.stored.Object)}).DeepCopy()
	masked = r.withMask(masked)
	admitted, targets, err := r.targets(federated.Read(masked))
	if err != nil {
		return nil, err
	}
	spec, _ := masked.Object["spec"].(map[string]any)
	if r.content.Template == nil {
		delete(spec, "template")
	} else {
		spec["template"] = runtime.DeepCopyJSONValue(r.content.Template)
	}
	for _, unit := range targets {
		r.setOverrides(spec, unit)
	}
	after := federated.Read(masked)
	for _, unit := range targets {
		if got, err := after.ContentFor(unit).Revision(); err != nil || got != r.revision {
			return nil, fmt.Errorf("%s would be asked for %s and not for %s: nothing is written", r.target.short(unit), got, r.revision)
		}
	}
	out := &rollback{Kind: before.Kind, Namespace: before.Namespace, Name: before.Name, Revision: r.revision, object: masked}
	if before.TopologyType != topology.TypeCluster {
		out.object = &unstructured.Unstructured{Object: topology.ToTopologyForm(masked.Object)}
	}
	out.APIVersion = out.object.GetAPIVersion()
	out.Spec, _ = out.object.Object["spec"].(map[string]any)
	was := topology.ToClusterForm(r.target.stored.Object)["spec"]
	out.Changed = !equalJSON(was, masked.Object["spec"])
	out.Mask = r.maskInWords(after, admitted)
	out.Units, err = r.units(after, admitted, targets)
	return out, err
}

func (r rollbackTo) refuse() error {
	o := r.target.object
	switch {
	case o.Deleting:
		return fmt.Errorf("%s is being deleted: what is asked for in its spec does not count any more", r.target)
	case len(o.Faults) > 0:
		var said []string
		for _, f := range o.Faults {
			said = append(said, f.String())
		}
		return fmt.Errorf("%s cannot be read, so nobody can say what comes of it: mend it first: %s", r.target, strings.Join(said, "; "))
	}
	return nil
}

// withMask sets the new mask, which is said in topology form.
func (r rollbackTo) withMask(clusterForm *unstructured.Unstructured) *unstructured.Unstructured {
	if r.mask == nil {
		return clusterForm
	}
	u := &unstructured.Unstructured{Object: topology.ToTopologyForm(clusterForm.Object)}
	u = u.DeepCopy()
	spec, ok := u.Object["spec"].(map[string]any)
	if !ok {
		spec = map[string]any{}
		u.Object["spec"] = spec
	}
	spec["placementMask"] = runtime.DeepCopyJSON(r.mask)
	return (&unstructured.Unstructured{Object: topology.ToClusterForm(u.Object)}).DeepCopy()
}

// targets are the units that get the revision exactly, and whether the mask admits a unit.
func (r rollbackTo) targets(o *federated.Object) (admitted func(string) bool, targets []string, err error) {
	admitted = func(string) bool { return true }
	var mask placement.Selected
	if o.Mask != nil {
		mask = placement.Resolve(*o.Mask, r.candidates)
		admitted = mask.Has
	}
	if r.mask == nil {
		for _, u := range o.Status.Units {
			if u.Revision == r.revision {
				targets = append(targets, u.Name)
			}
		}
		return admitted, targets, nil
	}
	concerned := r.concerned(o)
	var foreign []string
	for _, unit := range mask.Names {
		if slices.Contains(concerned, unit) {
			targets = append(targets, unit)
		} else if o.Mask.Named {
			foreign = append(foreign, r.target.short(unit))
		}
	}
	if len(foreign) > 0 {
		return nil, nil, fmt.Errorf("--mask: %s: not in the placement of %s, and without a copy of it", strings.Join(foreign, ", "), r.target)
	}
	if len(targets) == 0 {
		return nil, nil, errors.New("--mask-selector selects no unit of the object: nothing would change anywhere")
	}
	return admitted, targets, nil
}

// concerned are the units that the object is placed in or may have a copy in, as status lists them.
func (r rollbackTo) concerned(o *federated.Object) []string {
	out := slices.Clone(placement.Resolve(o.Placement, r.candidates).Names)
	for _, u := range o.Status.Units {
		if !slices.Contains(out, u.Name) && (u.Inventory || u.Revision != "") {
			out = append(out, u.Name)
		}
	}
	return out
}

// setOverrides makes a unit's entry that of the revision, in its place. The spec is in cluster form.
func (r rollbackTo) setOverrides(spec map[string]any, unit string) {
	entries, _ := spec["overrides"].([]any)
	at := slices.IndexFunc(entries, func(e any) bool { return r.overridden(e) == unit })
	switch {
	case len(r.content.Overrides) == 0 && at < 0:
		return
	case len(r.content.Overrides) == 0:
		entries = slices.Delete(slices.Clone(entries), at, at+1)
	case at < 0:
		entries = append(slices.Clone(entries), map[string]any{
			"clusterName": unit, "clusterOverrides": runtime.DeepCopyJSONValue(r.content.Overrides)})
	default:
		entries[at].(map[string]any)["clusterOverrides"] = runtime.DeepCopyJSONValue(r.content.Overrides)
	}
	spec["overrides"] = entries
	if len(entries) == 0 {
		delete(spec, "overrides")
	}
}

// overridden is the full name of the unit that an entry in cluster form is about.
func (r rollbackTo) overridden(entry any) string {
	m, _ := entry.(map[string]any)
	if s, _ := m["clusterName"].(string); s != "" {
		return s
	}
	if s, _ := m["topologyName"].(string); s != "" {
		return r.target.full(s)
	}
	return ""
}

// units tells what comes of it, unit by unit.
func (r rollbackTo) units(after *federated.Object, admitted func(string) bool, targets []string) ([]rolledUnit, error) {
	placed := placement.Resolve(after.Placement, r.candidates)
	out := []rolledUnit{}
	for _, unit := range r.concerned(after) {
		status, _ := after.Status.Unit(unit)
		u := rolledUnit{Name: r.target.short(unit), Now: status.Revision}
		asked, err := after.ContentFor(unit).Revision()
		if err != nil {
			return nil, fmt.Errorf("naming what is asked for in %s: %w", u.Name, err)
		}
		switch {
		case !admitted(unit) && status.Revision == "" && !status.Inventory:
			u.Why = "is not made: the mask does not admit it"
		case !admitted(unit):
			u.Then, u.Why = status.Revision, "stays: the mask does not admit it"
		case !placed.Has(unit):
			u.Why = "goes: it is not in the placement"
		case asked == status.Revision:
			u.Then, u.Why = asked, "has it already"
		case asked == r.revision:
			u.Then, u.Why = asked, "gets it"
		default:
			u.Then, u.Why = asked, "gets the template with its own overrides"
		}
		if slices.Contains(targets, unit) && admitted(unit) && placed.Has(unit) {
			u.Why += r.lostOverrides(unit)
		}
		out = append(out, u)
	}
	return out, nil
}

// lostOverrides tells that a unit's own overrides give way to others, which is easily not meant.
func (r rollbackTo) lostOverrides(unit string) string {
	own := r.target.object.Overrides[unit]
	if equalJSON(own, r.content.Overrides) || len(own) == 0 && len(r.content.Overrides) == 0 {
		return ""
	}
	return fmt.Sprintf("; its overrides (%d) become those of the revision (%d)", len(own), len(r.content.Overrides))
}

// maskInWords says where anything may change once the object is written.
func (r rollbackTo) maskInWords(after *federated.Object, admitted func(string) bool) string {
	what := "becomes"
	if r.mask == nil {
		what = "stays as it is"
	}
	if after.Mask == nil {
		return "there is none, and every unit may change"
	}
	var units []string
	for _, unit := range r.concerned(after) {
		if admitted(unit) {
			units = append(units, r.target.short(unit))
		}
	}
	if len(units) == 0 {
		return what + ", and no unit may change"
	}
	return what + ": only " + strings.Join(units, ", ") + " may change"
}

// equalJSON tells whether two values are the same JSON.
func equalJSON(a, b any) bool {
	first, err := json.Marshal(a)
	if err != nil {
		return false
	}
	second, err := json.Marshal(b)
	return err == nil && bytes.Equal(first, second)
}

// needsCandidates tells whether the object, or a new mask, selects by labels.
func needsCandidates(o *federated.Object, mask map[string]any) bool {
	bySelector := func(s federated.Selection) bool { return !s.Named && s.Selector != nil }
	_, newSelector := mask["topologySelector"]
	return newSelector || bySelector(o.Placement) || o.Mask != nil && bySelector(*o.Mask)
}

// versionOf is the form that an object is written in.
func versionOf(o *federated.Object) string {
	if o.TopologyType == topology.TypeCluster {
		return wellknown.ClusterForm
	}
	return wellknown.TopologyForm
}
