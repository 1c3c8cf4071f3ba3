package topology

import (
	"strings"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Keys that the two forms trade, and those that name a unit.
const (
	clusters          = "clusters"
	topologies        = "topologies"
	clusterOverrides  = "clusterOverrides"
	topologyOverrides = "topologyOverrides"

	overrides = "overrides"

	keyName         = "name"
	keyClusterName  = "clusterName"
	keyTopologyName = "topologyName"
)

var (
	selections   = []string{"placement", "placementMask"}
	entryKeys    = []string{keyName, keyClusterName, keyTopologyName}
	overrideKeys = []string{keyClusterName, keyTopologyName}
)

// ToTopologyForm says a federated object of the cluster form (v1beta1) in topology form (v2beta1). It is defined for
// whatever JSON the object holds, and ToClusterForm takes it back exactly.
func ToTopologyForm(obj map[string]any) map[string]any {
	out := copyOfTouched(obj)
	IntoTopologyForm(out)
	return out
}

// ToClusterForm says a federated object of the topology form (v2beta1) in cluster form (v1beta1). It is defined for
// whatever JSON the object holds, and ToTopologyForm takes it back exactly.
func ToClusterForm(obj map[string]any) map[string]any {
	out := copyOfTouched(obj)
	IntoClusterForm(out)
	return out
}

// IntoTopologyForm is ToTopologyForm in place, for who has just decoded the object and shares it with nobody.
func IntoTopologyForm(obj map[string]any) {
	convert(obj, direction{
		fromVersion: wellknown.ClusterForm, toVersion: wellknown.TopologyForm,
		fromList: clusters, toList: topologies,
		entry: scope.entryToTopology, override: scope.overrideToTopology,
	})
}

// IntoClusterForm is ToClusterForm in place, for who has just decoded the object and shares it with nobody.
func IntoClusterForm(obj map[string]any) {
	convert(obj, direction{
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

func convert(obj map[string]any, d direction) {
	s := scopeOf(obj)
	if version, ok := obj["apiVersion"].(string); ok {
		if group, ok := strings.CutSuffix(version, "/"+d.fromVersion); ok {
			obj["apiVersion"] = group + "/" + d.toVersion
		}
	}
	if spec, ok := obj["spec"].(map[string]any); ok {
		d.spec(s, spec)
	}
	if status, ok := obj["status"].(map[string]any); ok {
		d.lists(s, status)
	}
}

func (d direction) spec(s scope, spec map[string]any) {
	for _, key := range selections {
		if p, ok := spec[key].(map[string]any); ok {
			d.lists(s, p)
			s.tradeSelectors(p)
		}
	}
	if list, ok := spec[overrides].([]any); ok {
		for _, e := range list {
			if entry, ok := asEntry(e); ok {
				say(entry, s, d.override, overrideKeys)
				entry.Trade(clusterOverrides, topologyOverrides)
			}
		}
	}
}

// lists says the lists of units in the other form. Only the list that is of the form we come from is converted; the
// other one, which no schema has, trades places with it untouched.
func (d direction) lists(s scope, m map[string]any) {
	if list, ok := m[d.fromList].([]any); ok {
		for _, e := range list {
			if entry, ok := asEntry(e); ok {
				say(entry, s, d.entry, entryKeys)
			}
		}
	}
	tradeKeys(m, d.fromList, d.toList)
}

// say says an entry's name in the other form, if the entry has exactly one of the keys, as a string. Any other entry
// names nothing that could be translated, and stays as it is in both forms.
func say(entry Entry, s scope, to rename, keys []string) {
	key, name, found, isText := "", "", 0, false
	for _, k := range keys {
		if text, ok, has := entry.Text(k); has {
			key, name, isText = k, text, ok
			found++
		}
	}
	if isText && found == 1 {
		newKey, newName := to(s, key, name)
		entry.Rename(key, newKey, newName)
	}
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
