package topology_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/cellfed/cellfed/pkg/topology"
)

const scopeYAML = `{key: topology.cellfed.io/type, operator: In, values: [cell]}, {key: topology.cellfed.io/namespace, operator: In, values: [acme]}`

// inScope is a list of expressions with the two requirements of cells in namespace acme at its end.
func inScope(before string) string {
	return "[" + before + scopeYAML + "]"
}

// pairs are bodies of one object in cluster form and in topology form, in namespace acme. Both ways are tested.
var pairs = map[string]struct{ cluster, topology string }{
	"an own unit is short in topology form": {
		`spec: {topologyType: cell, placement: {clusters: [{name: rz00a.acme.cell}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{name: rz00a}]}}`,
	},
	"a full name of another namespace stands verbatim": {
		`spec: {topologyType: cell, placement: {clusters: [{name: rz00a.other.cell}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{clusterName: rz00a.other.cell}]}}`,
	},
	"a full name of another type stands verbatim": {
		`spec: {topologyType: cell, placement: {clusters: [{name: rz00a.acme.zone}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{clusterName: rz00a.acme.zone}]}}`,
	},
	"a physical member stands verbatim": {
		`spec: {topologyType: cell, placement: {clusters: [{name: hz-1}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{clusterName: hz-1}]}}`,
	},
	"an own unit by its full name in topology form is a topologyName in cluster form": {
		`spec: {topologyType: cell, placement: {clusters: [{topologyName: rz00a}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{clusterName: rz00a.acme.cell}]}}`,
	},
	"a short name that holds the suffix gets it once more": {
		`spec: {topologyType: cell, placement: {clusters: [{name: rz00a.acme.cell.acme.cell}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{name: rz00a.acme.cell}]}}`,
	},
	"a bare suffix is an empty name": {
		`spec: {topologyType: cell, placement: {clusters: [{name: .acme.cell}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{name: ""}]}}`,
	},
	"order and duplicates stay": {
		`spec: {topologyType: cell, placement: {clusters: [{name: b.acme.cell}, {name: hz-1}, {name: b.acme.cell}, {name: a.acme.cell}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{name: b}, {clusterName: hz-1}, {name: b}, {name: a}]}}`,
	},
	"a mask is said like a placement": {
		`spec: {topologyType: cell, placementMask: {clusters: [{name: rz00a.acme.cell}, {name: x}]}}`,
		`spec: {topologyType: cell, placementMask: {topologies: [{name: rz00a}, {clusterName: x}]}}`,
	},
	"an empty mask stays empty": {
		`spec: {topologyType: cell, placementMask: {}}`,
		`spec: {topologyType: cell, placementMask: {}}`,
	},
	"an empty list stays an empty list": {
		`spec: {topologyType: cell, placement: {clusters: []}}`,
		`spec: {topologyType: cell, placement: {topologies: []}}`,
	},
	"a null list stays null": {
		`spec: {topologyType: cell, placement: {clusters: null}}`,
		`spec: {topologyType: cell, placement: {topologies: null}}`,
	},
	"a null placement stays null": {
		`spec: {topologyType: cell, placement: null}`,
		`spec: {topologyType: cell, placement: null}`,
	},
	"an entry with two names stays as it is": {
		`spec: {topologyType: cell, placement: {clusters: [{name: rz00a.acme.cell, topologyName: b}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{name: rz00a.acme.cell, topologyName: b}]}}`,
	},
	"an entry without a name stays as it is": {
		`spec: {topologyType: cell, placement: {clusters: [{}, null, x, {name: 7}, {name: null}]}}`,
		`spec: {topologyType: cell, placement: {topologies: [{}, null, x, {name: 7}, {name: null}]}}`,
	},
	"another type has another suffix": {
		`spec: {topologyType: zone, placement: {clusters: [{name: a.acme.zone}, {name: a.acme.cell}]}}`,
		`spec: {topologyType: zone, placement: {topologies: [{name: a}, {clusterName: a.acme.cell}]}}`,
	},
	"without a topology type names stay as they are": {
		`spec: {placement: {clusters: [{name: a.acme.cell}, {topologyName: b}]}, overrides: [{clusterName: a, clusterOverrides: []}]}`,
		`spec: {placement: {topologies: [{name: a.acme.cell}, {clusterName: b}]}, overrides: [{topologyName: a, topologyOverrides: []}]}`,
	},
	"with topology type cluster names stay as they are": {
		`spec: {topologyType: cluster, placement: {clusters: [{name: a}]}}`,
		`spec: {topologyType: cluster, placement: {topologies: [{name: a}]}}`,
	},
	"an empty topology type is cluster": {
		`spec: {topologyType: "", placement: {clusters: [{name: a}]}}`,
		`spec: {topologyType: "", placement: {topologies: [{name: a}]}}`,
	},
	"an override of an own unit is short in topology form": {
		`spec: {topologyType: cell, overrides: [{clusterName: a.acme.cell, clusterOverrides: [{path: /x, value: null}]}]}`,
		`spec: {topologyType: cell, overrides: [{topologyName: a, topologyOverrides: [{path: /x, value: null}]}]}`,
	},
	"an override of something else stands verbatim": {
		`spec: {topologyType: cell, overrides: [{clusterName: hz-1, clusterOverrides: []}]}`,
		`spec: {topologyType: cell, overrides: [{clusterName: hz-1, topologyOverrides: []}]}`,
	},
	"an override of an own unit by its full name in topology form is a topologyName in cluster form": {
		`spec: {topologyType: cell, overrides: [{topologyName: a, clusterOverrides: []}]}`,
		`spec: {topologyType: cell, overrides: [{clusterName: a.acme.cell, topologyOverrides: []}]}`,
	},
	"an override with both names keeps both": {
		`spec: {topologyType: cell, overrides: [{clusterName: a.acme.cell, topologyName: a}]}`,
		`spec: {topologyType: cell, overrides: [{clusterName: a.acme.cell, topologyName: a}]}`,
	},
	"a status entry is said like a placement's, and keeps all else": {
		`{spec: {topologyType: cell}, status: {clusters: [{name: a.acme.cell, generation: 2, remoteStatus: {name: x}}, {name: hz-1}]}}`,
		`{spec: {topologyType: cell}, status: {topologies: [{name: a, generation: 2, remoteStatus: {name: x}}, {clusterName: hz-1}]}}`,
	},
	"a topologySelector selects own units only": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {city: hz}, matchExpressions: ` + inScope("") + `}}}`,
		`spec: {topologyType: cell, placement: {topologySelector: {matchLabels: {city: hz}}}}`,
	},
	"an empty topologySelector selects own units only": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchExpressions: ` + inScope("") + `}}}`,
		`spec: {topologyType: cell, placement: {topologySelector: {}}}`,
	},
	"the requirements come after those of the user": {
		`spec: {topologyType: cell, placementMask: {clusterSelector: {matchExpressions: ` + inScope("{key: ring, operator: Exists}, ") + `}}}`,
		`spec: {topologyType: cell, placementMask: {topologySelector: {matchExpressions: [{key: ring, operator: Exists}]}}}`,
	},
	"requirements that a user wrote too are not taken for ours": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchExpressions: ` + inScope(scopeYAML+", ") + `}}}`,
		`spec: {topologyType: cell, placement: {topologySelector: {matchExpressions: ` + inScope("") + `}}}`,
	},
	"a clusterSelector of other units stands verbatim": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {city: hz}}}}`,
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {city: hz}}}}`,
	},
	"requirements that do not come last make no topologySelector": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchExpressions: ` + inScope("")[:len(inScope(""))-1] + `, {key: ring, operator: Exists}]}}}`,
		`spec: {topologyType: cell, placement: {clusterSelector: {matchExpressions: ` + inScope("")[:len(inScope(""))-1] + `, {key: ring, operator: Exists}]}}}`,
	},
	"a topologySelector in cluster form stands verbatim": {
		`spec: {topologyType: cell, placement: {topologySelector: {matchLabels: {city: hz}}}}`,
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {city: hz}, matchExpressions: ` + inScope("") + `}}}`,
	},
	"a topologySelector with an empty list of expressions keeps it beside the clusterSelector": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchExpressions: ` + inScope("") + `}, topologySelector: {matchExpressions: []}}}`,
		`spec: {topologyType: cell, placement: {topologySelector: {matchExpressions: []}}}`,
	},
	"a topologySelector with an empty list of expressions in cluster form does so in topology form": {
		`spec: {topologyType: cell, placement: {topologySelector: {matchLabels: {a: b}, matchExpressions: []}}}`,
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {a: b}, matchExpressions: ` + inScope("") + `}, topologySelector: {matchLabels: {a: b}, matchExpressions: []}}}`,
	},
	"two selectors that differ stay both": {
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {b: c}, matchExpressions: ` + inScope("") + `}, topologySelector: {matchExpressions: []}}}`,
		`spec: {topologyType: cell, placement: {clusterSelector: {matchLabels: {b: c}, matchExpressions: ` + inScope("") + `}, topologySelector: {matchExpressions: []}}}`,
	},
	"a topologySelector that is no selector stays": {
		`spec: {topologyType: cell, placement: {topologySelector: {matchFields: []}}, placementMask: {topologySelector: x}}`,
		`spec: {topologyType: cell, placement: {topologySelector: {matchFields: []}}, placementMask: {topologySelector: x}}`,
	},
	"without a topology type selectors trade their keys": {
		`spec: {placement: {clusterSelector: {matchLabels: {a: b}}}, placementMask: {topologySelector: {}}}`,
		`spec: {placement: {topologySelector: {matchLabels: {a: b}}}, placementMask: {clusterSelector: {}}}`,
	},
	"without a topology type two selectors stay both": {
		`spec: {placement: {clusterSelector: {}, topologySelector: {matchLabels: {a: b}}}}`,
		`spec: {placement: {clusterSelector: {}, topologySelector: {matchLabels: {a: b}}}}`,
	},
	"the template is nobody's business": {
		`spec: {topologyType: cell, template: {spec: {clusters: [{name: a.acme.cell}]}}}`,
		`spec: {topologyType: cell, template: {spec: {clusters: [{name: a.acme.cell}]}}}`,
	},
	"a topology type that is no string is none": {
		`spec: {topologyType: 7, placement: {clusters: [{name: a}]}}`,
		`spec: {topologyType: 7, placement: {topologies: [{name: a}]}}`,
	},
	"what is no object stays": {
		`{spec: [], status: x}`,
		`{spec: [], status: x}`,
	},
	"an object of metadata only stays": {`{}`, `{}`},
}

func object(t *testing.T, version, body string) map[string]any {
	t.Helper()
	obj := jsonOf(t, body)
	obj["apiVersion"] = "types.kubefed.io/" + version
	return obj
}

func TestInBothForms(t *testing.T) {
	for name, tc := range pairs {
		t.Run(name, func(t *testing.T) {
			cluster, topo := object(t, "v1beta1", tc.cluster), object(t, "v2beta1", tc.topology)
			if diff := cmp.Diff(topo, topology.ToTopologyForm(cluster)); diff != "" {
				t.Errorf("in topology form (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(cluster, topology.ToClusterForm(topo)); diff != "" {
				t.Errorf("in cluster form (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAClusterScopedObjectOfATypeGoesBothWaysRound(t *testing.T) {
	obj := object(t, "v1beta1", `spec: {topologyType: cell, placement: {clusters: [{name: a..cell}, {name: a.acme.cell}]}}`)
	obj["metadata"] = map[string]any{"name": "web"}
	if problem := roundTrip(obj, topology.ToTopologyForm, topology.ToClusterForm); problem != "" {
		t.Error(problem)
	}
}

func TestNoObjectStaysNoObject(t *testing.T) {
	if topology.ToTopologyForm(nil) != nil || topology.ToClusterForm(nil) != nil {
		t.Error("nothing became something")
	}
}

// roundTrip says what is wrong when obj goes there and back: it must come back equal, and must not be changed by it.
func roundTrip(obj map[string]any, there, back func(map[string]any) map[string]any) string {
	before := copyOf(obj)
	other := there(obj)
	between := copyOf(other)
	returned := back(other)
	switch {
	case !equal(before, returned):
		return "it came back changed: " + diff(before, returned)
	case !equal(before, obj):
		return "conversion changed its source: " + diff(before, obj)
	case !equal(between, other):
		return "conversion back changed its source: " + diff(between, other)
	}
	return ""
}

func diff(want, got any) string { return "(-was +is)\n" + cmp.Diff(want, got) }

// copyOf and equal do for JSON values what reflection does for everything, quickly enough for millions of objects.
func copyOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, e := range v {
			out[key] = copyOf(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = copyOf(e)
		}
		return out
	default:
		return v
	}
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || b == nil || len(a) != len(b) {
			return false
		}
		for key, e := range a {
			if other, ok := b[key]; !ok || !equal(e, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || b == nil || len(a) != len(b) {
			return false
		}
		for i, e := range a {
			if !equal(e, b[i]) {
				return false
			}
		}
		return true
	default:
		switch b.(type) {
		case map[string]any, []any:
			return false
		}
		return a == b
	}
}

func jsonOf(tb testing.TB, body string) map[string]any {
	tb.Helper()
	obj := map[string]any{}
	if err := yaml.Unmarshal([]byte(body), &obj); err != nil {
		tb.Fatalf("the test's own object is no YAML: %v\n%s", err, body)
	}
	obj["kind"] = "FederatedConfigMap"
	obj["metadata"] = map[string]any{"namespace": "acme", "name": "web"}
	return obj
}
