package topology

import (
	"maps"
	"strings"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Keys that the two forms trade, and those that name a unit.
const (
	clusters          = "clusters"
	topologies        = "topologies"
	clusterOverrides  = "clusterOverrides"
	topologyOverrides = "topologyOverrides"

	keyName         = "name"
	keyClusterName  = "clusterName"
	keyTopologyName = "topologyName"
)

var (
	entryKeys    = []string{keyName, keyClusterName, keyTopologyName}
	overrideKeys = []string{keyClusterName, keyTopologyName}
)

// ToTopologyForm says a federated object of the cluster form (v1beta1) in topology form (v2beta1). It is defined for
// whatever JSON the object holds, and ToClusterForm takes it back exactly.
func ToTopologyForm(obj map[string]any) map[string]any {
	return convert(obj, direction{
		fromVersion: wellknown.ClusterForm, toVersion: wellknown.TopologyForm,
		fromList: clusters, toList: topologies,
		entry: scope.entryToTopology, override: scope.overrideToTopology,
	})
}

// ToClusterForm says a federated object of the topology form (v2beta1) in cluster form (v1beta1). It is defined for
// whatever JSON the object holds, and ToTopologyForm takes it back exactly.
func ToClusterForm(obj map[string]any) map[string]any {
	return convert(obj, direction{
		fromVersion: wellknown.TopologyForm, toVersion: wellknown.ClusterForm,
		fromList: topologies, toList: clusters,
		entry: scope.entryToCluster, override: scope.overrideToCluster,
	})
}

// direction is all that differs between the two ways.
type direction struct {
	fromVersion, toVersion string
	fromList, toList       string
	entry, override        rename
}

// rename says under which key and how a name stands in the other form.
type rename func(s scope, key, name string) (string, string)

// scope is what of an object decides how its names are said. It is the same in both forms.
type scope struct {
	plain           bool // topology type cluster: names and selectors are the same in both forms
	namespace, kind string
	suffix          string
}

func scopeOf(obj map[string]any) scope {
	spec, _ := obj["spec"].(map[string]any)
	kind, _ := spec["topologyType"].(string)
	if kind == "" || kind == TypeCluster {
		return scope{plain: true}
	}
	metadata, _ := obj["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	return scope{namespace: namespace, kind: kind, suffix: Suffix(namespace, kind)}
}

func convert(obj map[string]any, d direction) map[string]any {
	if obj == nil {
		return nil
	}
	s := scopeOf(obj)
	out := maps.Clone(obj)
	if version, ok := obj["apiVersion"].(string); ok {
		if group, ok := strings.CutSuffix(version, "/"+d.fromVersion); ok {
			out["apiVersion"] = group + "/" + d.toVersion
		}
	}
	if spec, ok := obj["spec"].(map[string]any); ok {
		out["spec"] = d.spec(s, spec)
	}
	if status, ok := obj["status"].(map[string]any); ok {
		out["status"] = d.lists(s, status)
	}
	return out
}

func (d direction) spec(s scope, spec map[string]any) map[string]any {
	out := maps.Clone(spec)
	for _, key := range []string{"placement", "placementMask"} {
		if p, ok := spec[key].(map[string]any); ok {
			q := d.lists(s, p)
			s.tradeSelectors(q)
			out[key] = q
		}
	}
	if list, ok := spec["overrides"].([]any); ok {
		out["overrides"] = each(list, func(e map[string]any) map[string]any {
			e = renamed(e, s, d.override, overrideKeys)
			tradeKeys(e, clusterOverrides, topologyOverrides)
			return e
		})
	}
	return out
}

// lists is m with its lists of units said in the other form. Only the list that is of the form we come from is
// converted; the other one, which no schema has, trades places with it untouched.
func (d direction) lists(s scope, m map[string]any) map[string]any {
	out := maps.Clone(m)
	if list, ok := m[d.fromList].([]any); ok {
		out[d.fromList] = each(list, func(e map[string]any) map[string]any {
			return renamed(e, s, d.entry, entryKeys)
		})
	}
	tradeKeys(out, d.fromList, d.toList)
	return out
}

// each is the list with f of every object in it; what is no object stays.
func each(list []any, f func(map[string]any) map[string]any) []any {
	if list == nil {
		return nil // in memory it encodes as null, unlike an empty list
	}
	out := make([]any, len(list))
	for i, e := range list {
		if m, ok := e.(map[string]any); ok {
			out[i] = f(m)
		} else {
			out[i] = e
		}
	}
	return out
}

// renamed is a copy of an entry with its name said in the other form, if the entry has exactly one of the keys, as a
// string. Any other entry names nothing that could be translated, and stays as it is in both forms.
func renamed(entry map[string]any, s scope, to rename, keys []string) map[string]any {
	key, found := "", 0
	for _, k := range keys {
		if _, ok := entry[k]; ok {
			key = k
			found++
		}
	}
	name, ok := entry[key].(string)
	if !ok || found != 1 {
		return maps.Clone(entry)
	}
	out := make(map[string]any, len(entry))
	for k, v := range entry {
		if k != key {
			out[k] = v
		}
	}
	key, name = to(s, key, name)
	out[key] = name
	return out
}

// tradeKeys gives each key the value, or the absence, of the other.
func tradeKeys(m map[string]any, a, b string) {
	x, hasX := m[a]
	y, hasY := m[b]
	delete(m, a)
	delete(m, b)
	if hasX {
		m[b] = x
	}
	if hasY {
		m[a] = y
	}
}

// entryToTopology and entryToCluster are inverse: {name} of an own unit is short on one side and full on the other; any
// other full name is {clusterName} in topology form; a short name in cluster form is {topologyName} there. The fourth
// case, which no schema admits, fills the gap that those three leave.
func (s scope) entryToTopology(key, name string) (string, string) {
	switch key {
	case keyName:
		if short, own := strings.CutSuffix(name, s.suffix); own {
			return keyName, short
		}
		return keyClusterName, name
	case keyTopologyName:
		return keyClusterName, name + s.suffix
	default:
		return keyTopologyName, name
	}
}

func (s scope) entryToCluster(key, name string) (string, string) {
	switch key {
	case keyName:
		return keyName, name + s.suffix
	case keyClusterName:
		if short, own := strings.CutSuffix(name, s.suffix); own {
			return keyTopologyName, short
		}
		return keyName, name
	default:
		return keyClusterName, name
	}
}

// overrideToTopology and overrideToCluster are inverse. Here each form's own key is the other form's verbatim key, so a
// full name in topology form is an own unit's exactly if cluster form said it short.
func (s scope) overrideToTopology(key, name string) (string, string) {
	if key == keyTopologyName {
		return keyClusterName, name + s.suffix
	}
	if short, own := strings.CutSuffix(name, s.suffix); own {
		return keyTopologyName, short
	}
	return keyClusterName, name
}

func (s scope) overrideToCluster(key, name string) (string, string) {
	// The same rule: a full name of an own unit and a short name trade keys, any other name stays.
	return s.overrideToTopology(key, name)
}
