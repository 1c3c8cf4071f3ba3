package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cellfed/cellfed/pkg/federated"
)

// content reads what a revision holds, and names it.
func content(t *testing.T, raw string) (federated.Content, string) {
	t.Helper()
	var c federated.Content
	if err := utiljson.Unmarshal([]byte(raw), &c); err != nil {
		t.Fatal(err)
	}
	name, err := c.Revision()
	if err != nil {
		t.Fatal(err)
	}
	return c, name
}

// kept is the Revision in which the plane keeps a content of the object web with this UID.
func kept(t *testing.T, uid, raw string, first int64, last string, created time.Time) *unstructured.Unstructured {
	t.Helper()
	c, name := content(t, raw)
	_, template := content(t, `{"template":`+string(marshal(t, c.Template))+`}`)
	u := object(t, `{"apiVersion":"propagation.cellfed.io/v1alpha1","kind":"Revision","spec":`+raw+`}`)
	spec := u.Object["spec"].(map[string]any)
	spec["of"] = map[string]any{"kind": "FederatedDeployment", "name": "web"}
	spec["generation"] = first
	u.SetNamespace("acme-prod")
	u.SetName(federated.RevisionObjectName("FederatedDeployment", "web", uid, name))
	u.SetLabels(map[string]string{
		"propagation.cellfed.io/owner-uid": uid, "propagation.cellfed.io/revision": name, "propagation.cellfed.io/template": template})
	if last != "" {
		u.SetAnnotations(map[string]string{"propagation.cellfed.io/last-generation": last})
	}
	u.SetCreationTimestamp(metav1.NewTime(created))
	return u
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var (
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

	oldContent    = `{"template":{"spec":{"image":"web:1"}}}`
	oldContentOfB = `{"template":{"spec":{"image":"web:1"}},"overrides":[{"path":"/spec/replicas","value":5}]}`
	newContent    = `{"template":{"spec":{"image":"web:2"}}}`
	newContentOfB = `{"template":{"spec":{"image":"web:2"}},"overrides":[{"path":"/spec/replicas","value":5}]}`
)

// grayRelease is web:2 under a mask of a, with b held at web:1 and an override, and c not written yet.
func grayRelease(t *testing.T) []runtime.Object {
	t.Helper()
	_, newA := content(t, newContent)
	_, oldB := content(t, oldContentOfB)
	web := object(t, strings.NewReplacer("NEW", newA, "OLD", oldB).Replace(`
apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {name: web, namespace: acme-prod, generation: 4, uid: uid-web, resourceVersion: "77"}
spec:
  topologyType: cell
  placement: {topologies: [{name: a}, {name: b}, {name: c}]}
  placementMask: {topologies: [{name: a}]}
  template: {spec: {image: "web:2"}}
  overrides: [{topologyName: b, topologyOverrides: [{path: /spec/replicas, value: 5}]}]
status:
  observedGeneration: 4
  topologies:
  - {name: a, revision: NEW, inventory: true}
  - {name: b, revision: OLD, inventory: true, held: true}
`))
	return []runtime.Object{web,
		kept(t, "uid-web", oldContent, 1, "1", noon.Add(-48*time.Hour)),
		kept(t, "uid-web", oldContentOfB, 2, "", noon.Add(-47*time.Hour)),
		kept(t, "uid-web", newContent, 3, "4", noon.Add(-5*time.Minute)),
		kept(t, "uid-another", newContentOfB, 9, "9", noon),
	}
}

// planeWith is a plane that serves federated deployments in both forms and holds these objects.
func planeWith(t *testing.T, objs ...runtime.Object) (*cluster, *dynamicfake.FakeDynamicClient) {
	t.Helper()
	plane, fake := newCluster("uid-plane", objs...)
	s, _ := newStatus(t, "", "")
	plane.mapper = s.plane.mapper
	return plane, fake
}

// newHistory is a plane in the midst of a gray release.
func newHistory(t *testing.T, args ...string) (*historyOptions, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	o := &historyOptions{output: outputTable, out: out, now: func() time.Time { return noon }}
	o.plane, _ = planeWith(t, grayRelease(t)...)
	if err := o.parse(args); err != nil {
		t.Fatal(err)
	}
	o.namespace = "acme-prod"
	return o, out
}

func TestHistoryListsRevisionsNewestFirstWithWhoRunsThem(t *testing.T) {
	_, oldA := content(t, oldContent)
	_, oldB := content(t, oldContentOfB)
	_, newA := content(t, newContent)
	_, newB := content(t, newContentOfB)
	says := strings.NewReplacer("oldA____________", oldA, "oldB____________", oldB, "newA____________", newA, "newB____________", newB,
		"oldA______", oldA[:10], "newA______", newA[:10])
	for name, tt := range map[string]struct{ output, want string }{
		"a table": {outputTable, `
FederatedDeployment acme-prod/web, generation 4
REVISION           ASKED   TEMPLATE     GENERATION   AGE   UNITS
newA____________   yes     newA______   4            5m    a
oldB____________   no      oldA______   2            47h   b (held)
oldA____________   no      oldA______   1            2d    -
Asked for now, and written nowhere yet: newB____________, for b.
`},
		"a wide table": {outputWide, `
FederatedDeployment acme-prod/web, generation 4
REVISION           ASKED   TEMPLATE           GENERATION   AGE   SINCE   OVERRIDES   UNITS
newA____________   yes     newA____________   4            5m    3       0           a
oldB____________   no      oldA____________   2            47h   2       1           b (held)
oldA____________   no      oldA____________   1            2d    1       0           -
Asked for now, and written nowhere yet: newB____________, for b.
`},
		"for a program": {outputYAML, `
generation: 4
kind: FederatedDeployment
name: web
namespace: acme-prod
revisions:
- asked: true
  created: "2026-11-21T11:55:00Z"
  firstGeneration: 3
  generation: 4
  overrides: 0
  revision: newA____________
  template: newA____________
  units:
  - held: false
    name: a
- asked: false
  created: "2026-11-19T13:00:00Z"
  firstGeneration: 2
  generation: 2
  overrides: 1
  revision: oldB____________
  template: oldA____________
  units:
  - held: true
    name: b
- asked: false
  created: "2026-11-19T12:00:00Z"
  firstGeneration: 1
  generation: 1
  overrides: 0
  revision: oldA____________
  template: oldA____________
topologyType: cell
unkept:
  newB____________:
  - b
`},
	} {
		t.Run(name, func(t *testing.T) {
			o, out := newHistory(t, "federateddeployment/web")
			o.output = tt.output
			if err := o.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(says.Replace(strings.TrimPrefix(tt.want, "\n")), withoutTrailingSpace(out.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHistoryShowsWhatARevisionHoldsByTheBeginningOfItsName(t *testing.T) {
	_, oldB := content(t, oldContentOfB)
	for _, output := range []string{outputTable, outputYAML, outputJSON} {
		o, out := newHistory(t, "fdeploy", "web")
		o.kind, o.revision, o.output = "federateddeployments", oldB[:6], output
		if err := o.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "overrides:\n- path: /spec/replicas\n  value: 5\nrevision: " + oldB + "\ntemplate:\n  spec:\n    image: web:1\n"
		if output == outputJSON {
			want = "{\n  \"overrides\": [\n    {\n      \"path\": \"/spec/replicas\",\n      \"value\": 5\n    }\n  ],\n  \"revision\": \"" + oldB +
				"\",\n  \"template\": {\n    \"spec\": {\n      \"image\": \"web:1\"\n    }\n  }\n}\n"
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("-o %s: %s", output, diff)
		}
	}
}

func TestHistoryFindsTheKindOfANameThatOnlyOneKindHas(t *testing.T) {
	o, out := newHistory(t, "web")
	o.plane.namespacedKinds = func() ([]*metav1.APIResourceList, error) {
		return []*metav1.APIResourceList{
			{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "configmaps", Verbs: metav1.Verbs{"get"}}}},
			{GroupVersion: "types.kubefed.io/v2beta1", APIResources: []metav1.APIResource{{Name: "federateddeployments", Verbs: metav1.Verbs{"get"}}}},
		}, nil
	}
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "FederatedDeployment acme-prod/web") {
		t.Error(out)
	}
	o.name = "shop"
	if err := o.run(t.Context()); err == nil || err.Error() != "there is no federated object shop in namespace acme-prod" {
		t.Errorf("an unknown name gives %v", err)
	}
	o.name = "web"
	kinds := o.plane.namespacedKinds
	o.plane.namespacedKinds = func() ([]*metav1.APIResourceList, error) {
		twice, err := kinds()
		return append(twice, twice[1]), err // as if another kind had one of this name too
	}
	if err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), "say which one, federateddeployments.types.kubefed.io/web or") {
		t.Errorf("a name that several kinds have gives %v", err)
	}
}

func TestHistoryOfASelectorAsksForItsUnits(t *testing.T) {
	o, out := newHistory(t, "federateddeployment/web")
	web := grayRelease(t)[0].(*unstructured.Unstructured)
	web.Object["spec"].(map[string]any)["placement"] = map[string]any{"topologySelector": map[string]any{"matchLabels": map[string]any{"city": "hangzhou"}}}
	objs := append(objectsOf(t,
		`{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: c, namespace: acme-prod, labels: {city: hangzhou}}, spec: {topologyType: cell, cluster: hz-1}}`,
		`{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: b, namespace: acme-prod, labels: {city: shanghai}}, spec: {topologyType: cell, cluster: hz-1}}`,
		`{apiVersion: topology.cellfed.io/v1alpha1, kind: Unit, metadata: {name: z, namespace: acme-prod, labels: {city: hangzhou}}, spec: {topologyType: zone, cluster: hz-1}}`,
	), grayRelease(t)[1:]...)
	plane, fake := planeWith(t, append(objs, web)...)
	o.plane = plane
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "for b") || strings.Contains(out.String(), "for z") || strings.Count(out.String(), " yes ") != 1 {
		t.Errorf("only c is placed, and asks for what a runs:\n%s", out)
	}
	// Who may not read units sees what status says.
	fake.PrependReactor("list", "units", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(units.GroupResource(), "", nil)
	})
	if err := o.run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHistoryBeforeAnythingWasWritten(t *testing.T) {
	o, out := newHistory(t, "federateddeployment/web")
	o.plane, _ = planeWith(t, object(t, `
apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {name: web, namespace: acme-prod, generation: 1, uid: uid-web}
spec: {template: {a: 1}}
`))
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "FederatedDeployment acme-prod/web, generation 1\nThere is no revision: nothing of it was written yet.\n"; out.String() != want {
		t.Errorf("got %s", out)
	}
}

func TestManyUnitsAreCounted(t *testing.T) {
	units := strings.Split("a b c d e f g", " ")
	if got := some(units, false); got != "a, b, c, d, e and 2 more" {
		t.Error(got)
	}
	if got := some(units, true); got != "a, b, c, d, e, f, g" {
		t.Error(got)
	}
}

func TestRevisionsThatCannotBeMeantAreTold(t *testing.T) {
	_, oldA := content(t, oldContent)
	_, newB := content(t, newContentOfB)
	for name, tt := range map[string]struct{ revision, want string }{
		"one that there is not":            {"0123456789abcdef", "has no revision 0123456789abcdef. It has, newest first: "},
		"one of a former life":             {newB, "is of a former FederatedDeployment acme-prod/web, which was deleted (UID uid-another; this one is uid-web)"},
		"too little of a name":             {oldA[:3], "give at least 4 characters"},
		"something that cannot be a label": {"/../", "has no revision /../"},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := newHistory(t, "federateddeployment/web")
			o.revision = tt.revision
			if err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("one whose content was made by hand", func(t *testing.T) {
		o, _ := newHistory(t, "federateddeployment/web")
		all := grayRelease(t)
		forged := all[1].(*unstructured.Unstructured)
		forged.Object["spec"].(map[string]any)["template"] = map[string]any{"evil": true}
		o.plane, _ = planeWith(t, all...)
		o.revision = oldA
		if err := o.run(t.Context()); err == nil || !strings.Contains(err.Error(), "is not what its name says") {
			t.Errorf("got %v", err)
		}
	})
}

func TestHistoryOfAClusterScopedObjectIsInTheFederationNamespace(t *testing.T) {
	web := object(t, `
apiVersion: types.kubefed.io/v2beta1
kind: FederatedDeployment
metadata: {name: web, generation: 1, uid: uid-web}
spec: {placement: {topologies: [{name: hz-1}]}, template: {spec: {image: "web:1"}}}
`)
	revision := kept(t, "uid-web", oldContent, 1, "1", noon)
	revision.SetNamespace(federation)
	o, out := newHistory(t, "federateddeployment/web")
	o.plane, _ = planeWith(t, web, revision)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(schema.GroupVersionKind{Group: "types.kubefed.io", Version: "v2beta1", Kind: "FederatedDeployment"}, meta.RESTScopeRoot)
	o.plane.mapper = mapper
	if err := o.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "FederatedDeployment web, generation 1\n"; !strings.HasPrefix(out.String(), want) || !strings.Contains(out.String(), " yes ") {
		t.Error(out)
	}
}
