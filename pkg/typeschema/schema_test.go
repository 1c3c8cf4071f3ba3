package typeschema_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/pkg/typeschema"
	"github.com/cellfed/cellfed/test/conversion/objects"
)

func structural(t *testing.T, v apiextensionsv1.CustomResourceDefinitionVersion) *structuralschema.Structural {
	t.Helper()
	s, err := structuralschema.NewStructural(internalSchema(t, v))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func internalSchema(t *testing.T, v apiextensionsv1.CustomResourceDefinitionVersion) *apiextensions.JSONSchemaProps {
	t.Helper()
	out := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, out, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

// door is what an API server does to an object of one version when it decodes it.
type door struct {
	schema    *structuralschema.Structural
	validator validation.SchemaValidator
}

func doors(t *testing.T) (cluster, topo door) {
	t.Helper()
	byVersion := map[string]door{}
	for _, v := range definition(t, deployments, typeschema.Options{}).Spec.Versions {
		validator, _, err := validation.NewSchemaValidator(internalSchema(t, v))
		if err != nil {
			t.Fatal(err)
		}
		byVersion[v.Name] = door{structural(t, v), validator}
	}
	return byVersion["v1beta1"], byVersion["v2beta1"]
}

// in decodes obj, in place, and returns the fields that it dropped because the schema does not know them.
func (d door) in(obj map[string]any) (dropped []string) {
	dropped = pruning.PruneWithOptions(obj, d.schema, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, d.schema)
	defaulting.Default(obj, d.schema)
	return dropped
}

func (d door) refuses(obj map[string]any) string {
	if errs := validation.ValidateCustomResource(nil, obj, d.validator); len(errs) > 0 {
		return errs.ToAggregate().Error()
	}
	return ""
}

func TestWhatAnAPIServerTakesItGivesBackInBothForms(t *testing.T) {
	cluster, topo := doors(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, 160)
	for i := range 2000 {
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		for name, way := range map[string]struct {
			from, to    door
			form        objects.Form
			there, back func(map[string]any) map[string]any
		}{
			"cluster form":  {cluster, topo, objects.Cluster, topology.ToTopologyForm, topology.ToClusterForm},
			"topology form": {topo, cluster, objects.Topology, topology.ToClusterForm, topology.ToTopologyForm},
		} {
			obj := objects.Generate(data, way.form, objects.Options{Valid: true})
			if refused := way.from.refuses(obj); refused != "" {
				t.Fatalf("seed %d, object %d in %s is refused: %s\n%v", seed, i, name, refused, obj)
			}
			if dropped := way.from.in(obj); len(dropped) > 0 {
				t.Fatalf("seed %d, object %d in %s loses %v at the door", seed, i, name, dropped)
			}
			other := runtime.DeepCopyJSON(way.there(obj))
			if dropped := way.to.in(other); len(dropped) > 0 {
				t.Fatalf("seed %d, object %d in %s loses %v in the other form", seed, i, name, dropped)
			}
			if refused := way.to.refuses(other); refused != "" {
				t.Fatalf("seed %d, object %d in %s is refused in the other form: %s", seed, i, name, refused)
			}
			returned := runtime.DeepCopyJSON(way.back(other))
			way.from.in(returned)
			if diff := cmp.Diff(obj, returned); diff != "" {
				t.Fatalf("seed %d, object %d in %s came back changed (-was +is):\n%s", seed, i, name, diff)
			}
		}
	}
}

func TestTheFormsTake(t *testing.T) {
	cluster, topo := doors(t)
	for name, tc := range map[string]struct {
		door door
		body string
	}{
		"a deployment as KubeFed's users write it": {cluster, `
spec:
  template: {metadata: {labels: {app: nginx}}, spec: {replicas: 3, template: {spec: {containers: [{image: nginx, name: nginx}]}}}}
  placement: {clusters: [{name: cluster2}, {name: cluster1}]}
  overrides:
  - clusterName: cluster2
    clusterOverrides:
    - {path: /spec/replicas, value: 5}
    - {path: /metadata/annotations, op: add, value: {foo: bar}}
    - {path: /metadata/annotations/foo, op: remove}`},
		"a namespace without a template":    {cluster, `spec: {placement: {clusters: [{name: cluster2}]}}`},
		"KubeFed's placement of everything": {cluster, `spec: {placement: {clusterSelector: {matchLabels: {}}}, retainReplicas: true}`},
		"a status as KubeFed writes it": {cluster, `
spec: {}
status:
  observedGeneration: 1
  clusters: [{name: cluster2}, {name: cluster1, status: CheckClusters, remoteStatus: {replicas: 1, x: null}}]
  conditions: [{type: Propagation, status: "True", lastUpdateTime: "2026-11-21T00:00:00Z", lastTransitionTime: "2026-11-21T00:00:00Z"}]`},
		"an override value that is null":  {cluster, `spec: {overrides: [{clusterName: a, clusterOverrides: [{path: /x, value: null}]}]}`},
		"duplicates":                      {topo, `spec: {placement: {topologies: [{name: a}, {name: a}]}}`},
		"a full name beside short ones":   {topo, `spec: {topologyType: cell, placement: {topologies: [{name: a}, {clusterName: b.other.cell}]}}`},
		"an empty mask":                   {topo, `spec: {topologyType: cell, placementMask: {}}`},
		"an empty op, which is a replace": {topo, `spec: {overrides: [{topologyName: a, topologyOverrides: [{op: "", path: /x, value: 1}]}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			obj := parse(t, tc.body)
			if refused := tc.door.refuses(obj); refused != "" {
				t.Errorf("refused: %s", refused)
			}
			if dropped := tc.door.in(obj); len(dropped) > 0 {
				t.Errorf("dropped: %v", dropped)
			}
			if diff := cmp.Diff(parse(t, tc.body), obj); diff != "" {
				t.Errorf("changed at the door (-was +is):\n%s", diff)
			}
		})
	}
}

func TestTheFormsRefuse(t *testing.T) {
	cluster, topo := doors(t)
	for name, tc := range map[string]struct {
		door       door
		body, want string
	}{
		"an object without a spec":       {cluster, `{}`, "spec: Required"},
		"an unknown op":                  {cluster, `spec: {overrides: [{clusterName: a, clusterOverrides: [{op: move, path: /x}]}]}`, "clusterOverrides[0].op"},
		"an operation without a path":    {topo, `spec: {overrides: [{topologyName: a, topologyOverrides: [{op: remove}]}]}`, "topologyOverrides[0].path: Required"},
		"an entry with no name":          {topo, `spec: {placement: {topologies: [{}]}}`, "spec.placement.topologies[0]"},
		"an entry with both names":       {topo, `spec: {placementMask: {topologies: [{name: a, clusterName: b}]}}`, "spec.placementMask.topologies[0]"},
		"an override of nothing":         {cluster, `spec: {overrides: [{clusterOverrides: []}]}`, "spec.overrides[0]"},
		"a name that is a number":        {cluster, `spec: {placement: {clusters: [{name: 7}]}}`, "spec.placement.clusters[0].name"},
		"a selector's label of a number": {topo, `spec: {placement: {topologySelector: {matchLabels: {a: 1}}}}`, "matchLabels.a"},
		"a template that is a list":      {topo, `spec: {template: []}`, "spec.template"},
	} {
		t.Run(name, func(t *testing.T) {
			refused := tc.door.refuses(parse(t, tc.body))
			if !strings.Contains(refused, tc.want) {
				t.Errorf("it says %q, want %q", refused, tc.want)
			}
		})
	}
}

func TestTheFormsDoNotKnowEachOthersWords(t *testing.T) {
	cluster, topo := doors(t)
	for name, tc := range map[string]struct {
		door       door
		body, want string
	}{
		"topologies in cluster form": {cluster, `spec: {placement: {topologies: []}}`, "spec.placement.topologies"},
		"clusters in topology form":  {topo, `spec: {placement: {clusters: []}}`, "spec.placement.clusters"},
		"topologyOverrides":          {cluster, `spec: {overrides: [{clusterName: a, topologyOverrides: []}]}`, "spec.overrides[0].topologyOverrides"},
		"clusterOverrides":           {topo, `spec: {overrides: [{topologyName: a, clusterOverrides: []}]}`, "spec.overrides[0].clusterOverrides"},
		"a misspelt mask":            {topo, `spec: {placementmask: {}}`, "spec.placementmask"},
		"a status list of the other": {topo, `{spec: {}, status: {clusters: []}}`, "status.clusters"},
	} {
		t.Run(name, func(t *testing.T) {
			dropped := tc.door.in(parse(t, tc.body))
			if len(dropped) != 1 || dropped[0] != tc.want {
				t.Errorf("dropped %v, want just %s", dropped, tc.want)
			}
		})
	}
}

func parse(t *testing.T, body string) map[string]any {
	t.Helper()
	obj := map[string]any{}
	if err := yaml.Unmarshal([]byte(body), &obj); err != nil {
		t.Fatalf("the test's own object is no YAML: %v", err)
	}
	return obj
}
