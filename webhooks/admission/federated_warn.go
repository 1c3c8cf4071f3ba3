package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/tenancy"
	"github.com/cellfed/cellfed/pkg/topology"
)

// mostNames is how many names a warning lists.
const mostNames = 5

// warnFederated tells what will work, but perhaps not as meant. Facts that cannot be read warn of nothing.
func (a *Admitter) warnFederated(ctx context.Context, req *Request) []string {
	v := read(req.Object)
	out := v.warnTemplate(req.Namespace)
	for _, s := range []selection{v.placement, v.mask} {
		if s.named && s.selector != nil {
			out = append(out, fmt.Sprintf("%s is not used, because %s is there: remove one of the two", s.selectorPath, s.listPath))
		}
	}
	out = append(out, warnLeft(req)...)
	there, ok := a.units(ctx, v)
	if !ok {
		return out
	}
	out = append(out, v.warnSelectors(there)...)
	return append(out, v.warnNames(there, inventory(req.Old))...)
}

// warnLeft tells of what kubectl apply left behind: it takes away only what it said before in the words of the same
// form, so whoever empties a placement or a mask in the other form has emptied nothing.
func warnLeft(req *Request) []string {
	applied := appliedNow(req)
	if applied == nil {
		return nil
	}
	v := read(req.Object)
	var out []string
	for _, s := range []selection{v.placement, v.mask} {
		if !isEmpty(applied[s.key]) || !s.named && s.selector == nil {
			continue
		}
		stays := s.listPath
		if !s.named {
			stays = s.selectorPath
		}
		out = append(out, fmt.Sprintf("%s stays, though what was applied is empty there: kubectl apply takes away only what it "+
			"said before in the same form; use kubectl replace or edit", stays))
	}
	return out
}

// appliedNow is the spec that kubectl apply says it has just applied; nothing if the request is none of its.
func appliedNow(req *Request) map[string]any {
	if req.Create || req.Old == nil || req.Kind.Group != wellknown.FederatedGroup || !mayBeFederated(req.Kind.GroupKind()) {
		return nil
	}
	applied := req.Object.GetAnnotations()[corev1.LastAppliedConfigAnnotation]
	if applied == req.Old.GetAnnotations()[corev1.LastAppliedConfigAnnotation] {
		return nil
	}
	var manifest struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal([]byte(applied), &manifest); err != nil {
		return nil // anybody may write annotations
	}
	return manifest.Spec
}

func isEmpty(raw any) bool {
	m, ok := raw.(map[string]any)
	return ok && len(m) == 0
}

// units are the units of the object's namespace and type, or the members, by name.
func (a *Admitter) units(ctx context.Context, v *view) (map[string]labels.Set, bool) {
	out := map[string]labels.Set{}
	who, err := a.owner(ctx, v.namespace)
	if err != nil {
		return nil, false
	}
	if v.topologyType == topology.TypeCluster {
		clusters, err := a.facts.Clusters(ctx)
		for _, c := range clusters {
			if tenancy.Of(c.Labels) == who { // of others' members nothing is told, not even that they are there
				out[c.Name] = c.Labels
			}
		}
		return out, err == nil
	}
	units, err := a.facts.Units(ctx, v.namespace)
	for _, u := range units {
		if u.Spec.TopologyType == v.topologyType {
			out[u.Name] = labels.Merge(u.Labels, labels.Set{wellknown.TopologyTypeLabel: v.topologyType,
				wellknown.TopologyNamespaceLabel: v.namespace, wellknown.TopologyUnitLabel: u.Name})
		}
	}
	return out, err == nil
}

func (v *view) warnTemplate(namespace string) []string {
	var out []string
	metadata, _ := v.template["metadata"].(map[string]any)
	if n, ok := metadata["namespace"].(string); ok && n != "" && n != namespace {
		out = append(out, fmt.Sprintf("spec.template.metadata.namespace: %q is not used: the namespace is that of the unit", n))
	}
	set, _ := metadata["labels"].(map[string]any)
	for _, key := range sortedKeys(set) {
		if _, ok := set[key].(string); !ok {
			out = append(out, fmt.Sprintf("spec.template.metadata.labels: the value of %q is no string: put it in quotes", key))
		}
	}
	return out
}

func (v *view) warnSelectors(there map[string]labels.Set) []string {
	var out []string
	for _, s := range []selection{v.placement, v.mask} {
		if s.named || s.selector == nil {
			continue
		}
		if len(selected(s, there)) == 0 {
			out = append(out, fmt.Sprintf("%s matches no %s%s now", s.selectorPath, v.topologyType, v.where()))
		}
	}
	return out
}

// warnNames warns of names that select nothing or change nothing.
func (v *view) warnNames(there map[string]labels.Set, inventory []string) []string {
	var out []string
	if v.topologyType == topology.TypeCluster {
		out = v.warnUnknown(out, v.placement.refs, there, v.placement.listPath.String())
	}
	overridden := make([]ref, 0, len(v.overrides))
	for _, e := range v.overrides {
		overridden = append(overridden, e.ref)
	}
	out = v.warnUnknown(out, overridden, there, specPath.Child("overrides").String())
	placed := append(selected(v.placement, there), inventory...)
	var outside []string
	for _, r := range v.mask.refs {
		if !slices.Contains(placed, r.name) {
			outside = append(outside, v.words.unit(r.name, v.namespace, v.topologyType))
		}
	}
	if len(outside) != 0 {
		out = append(out, fmt.Sprintf("%s: neither placed nor holding a copy, so there is nothing to change: %s", v.mask.listPath, some(outside)))
	}
	return out
}

func (v *view) warnUnknown(out []string, refs []ref, there map[string]labels.Set, where string) []string {
	var unknown []string
	for _, r := range refs {
		if _, ok := there[r.name]; !ok && r.good {
			unknown = append(unknown, v.words.unit(r.name, v.namespace, v.topologyType))
		}
	}
	if len(unknown) == 0 {
		return out
	}
	return append(out, fmt.Sprintf("%s: no such %s%s now: %s", where, v.topologyType, v.where(), some(unknown)))
}

// where says where units are looked for.
func (v *view) where() string {
	if v.topologyType == topology.TypeCluster {
		return ""
	}
	return " in namespace " + v.namespace
}

// selected are the names that a placement or mask selects.
func selected(s selection, there map[string]labels.Set) []string {
	var out []string
	if s.named {
		for _, r := range s.refs {
			out = append(out, r.name)
		}
		return out
	}
	if s.selector == nil {
		return nil
	}
	for name, set := range there {
		if s.selector.Matches(set) {
			out = append(out, name)
		}
	}
	return out
}

// inventory are the units that the stored object's status says something of, by the names that placement uses.
func inventory(old *unstructured.Unstructured) []string {
	if old == nil {
		return nil
	}
	content := old.Object
	if wordsOf(old.GroupVersionKind().Version).full {
		content = topology.ToTopologyForm(content)
	}
	entries, _, _ := unstructured.NestedFieldNoCopy(content, "status", topologyWords.list)
	list, _ := entries.([]any)
	var out []string
	for _, e := range list {
		m, _ := e.(map[string]any)
		for _, key := range []string{"name", "clusterName"} {
			if name, ok := m[key].(string); ok {
				out = append(out, name)
			}
		}
	}
	return out
}

// some lists names, and tells how many more there are.
func some(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) <= mostNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames], ", "), len(names)-mostNames)
}

func sortedKeys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}
