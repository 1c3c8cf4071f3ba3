package admission

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cellfed/cellfed/pkg/topology"
)

// inClusterWords says a path or text of the topology form in the cluster form's words.
var inClusterWords = strings.NewReplacer("topologies", "clusters", "topologyName", "clusterName", "topologyOverrides", "clusterOverrides",
	"topologySelector", "clusterSelector")

const head = `{"apiVersion":"types.kubefed.io/%v","kind":"FederatedDeployment","metadata":{"namespace":"acme-prod","name":"web",
	"labels":{"tenancy.cellfed.io/tenant":"acme","tenancy.cellfed.io/workspace":"prod"}},"spec":`

func inTopologyForm(t *testing.T, spec string) *unstructured.Unstructured {
	return parse(t, strings.Replace(head, "%v", "v2beta1", 1)+spec+"}")
}

func inClusterForm(t *testing.T, spec string) *unstructured.Unstructured {
	return parse(t, strings.Replace(head, "%v", "v1beta1", 1)+spec+"}")
}

var long = strings.Repeat("x", 64)

// nested is a list in a list, so many times.
func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

// specs are judged in both forms: as written, and converted.
var specs = map[string]struct{ spec, field, text string }{
	"a template that is nested as deep as may be": {`{"template":{"a":` + nested(998) + `}}`, "", ""},
	"a template that would fail every list":       {`{"template":{"a":` + nested(9990) + `}}`, "spec", "nested more than 1000 levels deep"},
	"an override's value that would":              {`{"overrides":[{"clusterName":"hz-1","clusterOverrides":[{"path":"/a","value":` + nested(9990) + `}]}]}`, "spec", "nested more than"},
	"the whole of a good object":                  {`{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a"},{"name":"rz01a"}]},"placementMask":{"topologies":[]},"template":{"spec":{"replicas":1}},"overrides":[{"topologyName":"rz00a","topologyOverrides":[{"path":"/spec/replicas","value":5}]}]}`, "", ""},
	"no spec to speak of":                         {`{}`, "", ""},
	"a selector":                                  {`{"topologyType":"cell","placement":{"topologySelector":{"matchLabels":{"city":"hangzhou"}}}}`, "", ""},
	"a selector with an empty list":               {`{"topologyType":"cell","placement":{"topologySelector":{"matchExpressions":[]}}}`, "", ""},
	"a KubeFed object with clusters nobody knows": {`{"placement":{"topologies":[{"name":"no.such.cluster"}]},"template":{}}`, "", ""},
	"a configured type":                           {`{"topologyType":"zone","placement":{"topologies":[{"name":"east"}]}}`, "", ""},
	"another version of the target":               {`{"template":{"apiVersion":"apps/v1beta2","kind":"Deployment"}}`, "", ""},

	"an unknown topology type":          {`{"topologyType":"rack","placement":{"topologies":[{"name":"rz00a"}]}}`, "spec.topologyType", `supported values: "cluster", "cell", "zone"`},
	"a topology type that is no string": {`{"topologyType":1}`, "spec.topologyType", "must be a string"},
	"a unit that is not there":          {`{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a"},{"name":"rz09x"}]}}`, "spec.placement.topologies[1].name", "no unit rz09x of type cell in namespace acme-prod"},
	"a unit of another type":            {`{"topologyType":"cell","placement":{"topologies":[{"name":"east"}]}}`, "spec.placement.topologies[0].name", "it is of type zone"},
	"a unit that only others have":      {`{"topologyType":"cell","placement":{"topologies":[{"name":"rz77x"}]}}`, "spec.placement.topologies[0].name", "no unit rz77x of type cell in namespace acme-prod"},
	"a name that is no label":           {`{"topologyType":"cell","placement":{"topologies":[{"name":"RZ_00"}]}}`, "spec.placement.topologies[0].name", "lower case alphanumeric"},
	"a name that is too long":           {`{"topologyType":"cell","placement":{"topologies":[{"name":"` + long + `"}]}}`, "spec.placement.topologies[0].name", "no more than 63 characters"},
	"a mask with a bad name":            {`{"topologyType":"cell","placementMask":{"topologies":[{"name":"A"}]}}`, "spec.placementMask.topologies[0].name", "no name of a unit"},
	"an entry without a name":           {`{"topologyType":"cell","placement":{"topologies":[{}]}}`, "spec.placement.topologies[0].name", "say which cell"},
	"an entry that is no object":        {`{"topologyType":"cell","placement":{"topologies":["rz00a"]}}`, "spec.placement.topologies[0]", "must be an object with a name"},
	"a placement that is no object":     {`{"placement":"everywhere"}`, "spec.placement", "must be an object"},
	"a template that is no object":      {`{"template":[]}`, "spec.template", "must be an object"},
	"a bad operator in a selector":      {`{"placement":{"topologySelector":{"matchExpressions":[{"key":"a","operator":"Is"}]}}}`, "spec.placement.topologySelector.matchExpressions[0].operator", "not a valid selector operator"},
	"a bad operator among units":        {`{"topologyType":"cell","placement":{"topologySelector":{"matchExpressions":[{"key":"a","operator":"Is"}]}}}`, "spec.placement.topologySelector.matchExpressions[0].operator", "not a valid selector operator"},
	"two entries for one unit":          {`{"topologyType":"cell","overrides":[{"topologyName":"rz00a"},{"topologyName":"rz01a"},{"topologyName":"rz00a"}]}`, "spec.overrides[2].topologyName", "spec.overrides[0] is for it already"},
	"a path twice for one unit":         {`{"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/a"},{"path":"/a"}]}]}`, "spec.overrides[0].topologyOverrides[1].path", "keep one of them"},
	"a path that leads nowhere":         {`{"template":{"spec":{}},"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/spec/x/y","value":1}]}]}`, "spec.overrides[0].topologyOverrides[0].path", `there is no "/spec/x"`},
	"an override of the name":           {`{"template":{},"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/metadata/name","value":1}]}]}`, "spec.overrides[0].topologyOverrides[0].path", "may not change /metadata/name"},
	"an override of an unknown kind":    {`{"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/a","op":"copy"}]}]}`, "spec.overrides[0].topologyOverrides[0].op", "supported values"},
	"overrides for nobody":              {`{"topologyType":"cell","overrides":[{"topologyOverrides":[]}]}`, "spec.overrides[0].topologyName", "say which cell"},
	"a template of another kind":        {`{"template":{"kind":"StatefulSet"}}`, "spec.template.kind", "a FederatedDeployment holds a Deployment"},
	"a template of another group":       {`{"template":{"apiVersion":"batch/v1"}}`, "spec.template.apiVersion", `group "apps"`},
	"a template whose metadata is text": {`{"template":{"metadata":"x"}}`, "spec.template.metadata", "must be an object"},
}

func TestAFederatedObjectIsJudgedAlikeInBothForms(t *testing.T) {
	for name, c := range specs {
		obj := inTopologyForm(t, c.spec)
		t.Run("topology form: "+name, func(t *testing.T) {
			_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil))
			wantFault(t, err, c.field, c.text)
		})
		t.Run("cluster form: "+name, func(t *testing.T) {
			other := &unstructured.Unstructured{Object: topology.ToClusterForm(obj.Object)}
			_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(other, nil))
			wantFault(t, err, inClusterWords.Replace(c.field), c.text)
		})
	}
}

func TestWordsOfTheOtherForm(t *testing.T) {
	requirements := `{"key":"topology.cellfed.io/type","operator":"In","values":["cell"]},{"key":"topology.cellfed.io/namespace","operator":"In","values":["acme-prod"]}`
	for name, c := range map[string]struct {
		cluster           bool
		spec, field, text string
	}{
		"topology form: a full name where a short one belongs":   {false, `{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a.acme-prod.cell"}]}}`, "spec.placement.topologies[0].name", "use rz00a"},
		"topology form: another namespace's unit as a name":      {false, `{"topologyType":"cell","placement":{"topologies":[{"name":"rz77x.rival.cell"}]}}`, "spec.placement.topologies[0].name", "belongs to namespace rival"},
		"topology form: another namespace's unit by clusterName": {false, `{"topologyType":"cell","placement":{"topologies":[{"clusterName":"rz77x.rival.cell"}]}}`, "spec.placement.topologies[0].clusterName", "belongs to namespace rival"},
		"topology form: an own unit by clusterName":              {false, `{"topologyType":"cell","placement":{"topologies":[{"clusterName":"rz00a.acme-prod.cell"}]}}`, "spec.placement.topologies[0].clusterName", "use name: rz00a"},
		"topology form: a member by clusterName":                 {false, `{"placement":{"topologies":[{"clusterName":"hz-1"}]}}`, "spec.placement.topologies[0].clusterName", "use name: hz-1"},
		"topology form: overrides by clusterName":                {false, `{"topologyType":"cell","overrides":[{"clusterName":"rz00a.acme-prod.cell"}]}`, "spec.overrides[0].clusterName", "use topologyName: rz00a"},
		"topology form: overrides for another namespace's unit":  {false, `{"topologyType":"cell","overrides":[{"clusterName":"rz77x.rival.cell"}]}`, "spec.overrides[0].clusterName", "belongs to namespace rival"},
		"topology form: two names":                               {false, `{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a","clusterName":"x"}]}}`, "spec.placement.topologies[0]", "keep name"},
		"topology form: a clusterSelector":                       {false, `{"topologyType":"cell","placement":{"clusterSelector":{}}}`, "spec.placement.clusterSelector", "use topologySelector"},
		"topology form: both selectors":                          {false, `{"topologyType":"cell","placement":{"clusterSelector":{},"topologySelector":{}}}`, "spec.placement", "keep the topologySelector"},
		"topology form: both selectors of members":               {false, `{"placement":{"clusterSelector":{},"topologySelector":{}}}`, "spec.placement", "keep the topologySelector"},
		"cluster form: both selectors":                           {true, `{"topologyType":"cell","placement":{"clusterSelector":{},"topologySelector":{}}}`, "spec.placement", "keep the clusterSelector"},
		"cluster form: a selector that reaches others":           {true, `{"topologyType":"cell","placement":{"clusterSelector":{"matchLabels":{"a":"b"}}}}`, "spec.placement.clusterSelector", "must end in {key: topology.cellfed.io/type"},
		"cluster form: a selector that keeps to its own":         {true, `{"topologyType":"cell","placement":{"clusterSelector":{"matchExpressions":[` + requirements + `]}}}`, "", ""},
		"cluster form: a short name":                             {true, `{"topologyType":"cell","placement":{"clusters":[{"name":"rz00a"}]}}`, "spec.placement.clusters[0].name", "their names are <unit>.acme-prod.cell"},
		"cluster form: another namespace's unit":                 {true, `{"topologyType":"cell","placement":{"clusters":[{"name":"rz77x.rival.cell"}]}}`, "spec.placement.clusters[0].name", "belongs to namespace rival"},
		"cluster form: another type's unit":                      {true, `{"topologyType":"cell","placement":{"clusters":[{"name":"east.acme-prod.zone"}]}}`, "spec.placement.clusters[0].name", "is of topology type zone"},
		"cluster form: an own unit by topologyName":              {true, `{"topologyType":"cell","placement":{"clusters":[{"topologyName":"rz00a"}]}}`, "spec.placement.clusters[0].topologyName", "use name: rz00a.acme-prod.cell"},
		"cluster form: overrides for another namespace's unit":   {true, `{"topologyType":"cell","overrides":[{"clusterName":"rz77x.rival.cell"}]}`, "spec.overrides[0].clusterName", "belongs to namespace rival"},
		"cluster form: overrides by topologyName":                {true, `{"topologyType":"cell","overrides":[{"topologyName":"rz00a"}]}`, "spec.overrides[0].topologyName", "use clusterName: rz00a.acme-prod.cell"},
	} {
		t.Run(name, func(t *testing.T) {
			obj := inTopologyForm(t, c.spec)
			if c.cluster {
				obj = inClusterForm(t, c.spec)
			}
			_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil))
			wantFault(t, err, c.field, c.text)
		})
	}
}

func TestUnitsInAClusterScopedObjectAreRefused(t *testing.T) {
	for version, list := range map[string]string{"v1beta1": "clusters", "v2beta1": "topologies"} {
		obj := parse(t, `{"apiVersion":"types.kubefed.io/`+version+`","kind":"FederatedClusterRole","metadata":{"name":"r"},
			"spec":{"topologyType":"cell","placement":{"`+list+`":[{"name":"x"}]}}}`)
		_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil))
		wantFault(t, err, "spec.topologyType", "cluster-scoped")
		delete(obj.Object["spec"].(map[string]any), "topologyType")
		_, err = newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil))
		wantFault(t, err, "", "")
	}
}

func TestUpdates(t *testing.T) {
	const faulty = `{"topologyType":"cell","placement":{"topologies":[{"name":"RZ"},{"name":"gone"}]},"template":{"spec":{}},
		"overrides":[{"topologyName":"rz00a","topologyOverrides":[{"path":"/spec/x/y","value":1}]},{"topologyName":"rz00a"}]}`
	for name, c := range map[string]struct{ old, spec, field, text string }{
		"old faults are tolerated, also where they moved": {faulty, `{"topologyType":"cell","placement":{"topologies":[{"name":"rz01a"},{"name":"gone"},{"name":"RZ"}]},"template":{"spec":{"a":1}},
			"overrides":[{"topologyName":"rz01a"},{"topologyName":"rz00a","topologyOverrides":[{"path":"/spec/x/y","value":1}]},{"topologyName":"rz00a"}]}`, "", ""},
		"an old path that stands twice may move": {`{"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/a"},{"path":"/a"}]}]}`, `{"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/b"},{"path":"/a"},{"path":"/a"}]}]}`, "", ""},
		"a new fault beside old ones is refused": {faulty, strings.Replace(faulty, `"RZ"}`, `"RZ"},{"name":"RY"}`, 1), "spec.placement.topologies[1].name", `"RY"`},
		"one more of the same is new":            {faulty, strings.Replace(faulty, `"RZ"}`, `"RZ"},{"name":"RZ"}`, 1), "spec.placement.topologies[1].name", `"RZ"`},
		"an old unit may be gone, a new one not": {`{"topologyType":"cell","placement":{"topologies":[{"name":"gone"}]}}`, `{"topologyType":"cell","placement":{"topologies":[{"name":"gone"},{"name":"rz09x"}]}}`, "spec.placement.topologies[1].name", "no unit rz09x"},
		"a template that breaks an override":     {`{"template":{"spec":{"a":{}}},"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/spec/a/b","value":1}]}]}`, `{"template":{"spec":{}},"overrides":[{"topologyName":"a","topologyOverrides":[{"path":"/spec/a/b","value":1}]}]}`, "spec.overrides[0].topologyOverrides[0].path", "does not apply"},
		"the type cannot change":                 {`{"topologyType":"cell"}`, `{"topologyType":"zone"}`, "spec.topologyType", "immutable"},
		"the type cannot appear":                 {`{}`, `{"topologyType":"cell"}`, "spec.topologyType", "was cluster and cannot become cell"},
		"the type cannot go":                     {`{"topologyType":"cell"}`, `{}`, "spec.topologyType", "was cell and cannot become cluster"},
		"no type and cluster are the same":       {`{}`, `{"topologyType":"cluster"}`, "", ""},
		"an old unknown type stays usable":       {`{"topologyType":"rack"}`, `{"topologyType":"rack","template":{}}`, "", ""},
	} {
		old, obj := inTopologyForm(t, c.old), inTopologyForm(t, c.spec)
		t.Run("topology form: "+name, func(t *testing.T) {
			_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, old))
			wantFault(t, err, c.field, c.text)
		})
		t.Run("cluster form: "+name, func(t *testing.T) {
			old, obj := &unstructured.Unstructured{Object: topology.ToClusterForm(old.Object)}, &unstructured.Unstructured{Object: topology.ToClusterForm(obj.Object)}
			_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, old))
			wantFault(t, err, inClusterWords.Replace(c.field), c.text)
		})
	}
}

func TestWhatIsNeverRefusedReadsNoFacts(t *testing.T) {
	const bad = `{"topologyType":"rack","placement":1}`
	for name, change := range map[string]func(req *Request){
		"a status write": func(req *Request) { req.Subresource = "status"; req.Old = inTopologyForm(t, `{}`) },
		"an object that is being deleted": func(req *Request) {
			_ = unstructured.SetNestedField(req.Object.Object, "2026-11-21T00:00:00Z", "metadata", "deletionTimestamp")
			req.Old = inTopologyForm(t, `{}`)
		},
		"a finalizer that is taken off": func(req *Request) {
			req.Old = req.Object.DeepCopy()
			req.Old.SetFinalizers([]string{"kubefed.io/sync-controller"})
		},
		"an annotation": func(req *Request) {
			req.Old = req.Object.DeepCopy()
			req.Object.SetAnnotations(map[string]string{"a": "b"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			facts := &fakeFacts{err: errors.New("the database is away")}
			req := requestFor(inTopologyForm(t, bad), nil)
			req.Create = false
			change(req)
			before := req.Object.DeepCopy()
			if err := newAdmitter(facts).Mutate(context.Background(), req); err != nil {
				t.Error(err)
			}
			if _, err := newAdmitter(facts).Validate(context.Background(), req); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(before, req.Object); d != "" || facts.asked != 0 {
				t.Errorf("facts asked: %d\n%s", facts.asked, d)
			}
		})
	}
}

func TestWithoutFactsAFederatedObjectIsRefusedForTheTimeBeing(t *testing.T) {
	a := newAdmitter(&fakeFacts{err: errors.New("the database is away")})
	req := requestFor(inTopologyForm(t, `{}`), nil)
	_, err := a.Validate(context.Background(), req)
	for _, err := range []error{err, a.Mutate(context.Background(), req)} {
		if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "try again") {
			t.Errorf("got %v", err)
		}
	}
	other := parse(t, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","namespace":"nowhere"}}`)
	if _, err := a.Validate(context.Background(), requestFor(other, nil)); err != nil {
		t.Errorf("what is none of ours was refused: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct{ spec, status, want string }{
		"a mask entry outside the placement":          {`{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a"}]},"placementMask":{"topologies":[{"name":"rz01a"}]}}`, "", "neither placed nor holding a copy"},
		"a mask entry of the inventory is good":       {`{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a"}]},"placementMask":{"topologies":[{"name":"rz01a"}]}}`, `{"topologies":[{"name":"rz01a"}]}`, ""},
		"a mask entry that a selector places is good": {`{"topologyType":"cell","placement":{"topologySelector":{"matchLabels":{"city":"hangzhou"}}},"placementMask":{"topologies":[{"name":"rz00a"}]}}`, "", ""},
		"a selector that matches nothing":             {`{"topologyType":"cell","placement":{"topologySelector":{"matchLabels":{"city":"paris"}}}}`, "", "matches no cell in namespace acme-prod now"},
		"a selector of members that matches nothing":  {`{"placement":{"topologySelector":{"matchLabels":{"city":"paris"}}}}`, "", "matches no cluster now"},
		"a cluster that nobody knows":                 {`{"placement":{"topologies":[{"name":"hz-1"},{"name":"bj-1"}]}}`, "", "no such cluster now: bj-1"},
		"overrides for a unit that is not there":      {`{"topologyType":"cell","overrides":[{"topologyName":"rz09x"}]}`, "", "spec.overrides: no such cell in namespace acme-prod now: rz09x"},
		"names and a selector":                        {`{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a"}],"topologySelector":{}}}`, "", "is not used, because spec.placement.topologies is there"},
		"a template with a namespace":                 {`{"template":{"metadata":{"namespace":"other"}}}`, "", `"other" is not used`},
		"a label that is no string":                   {`{"template":{"metadata":{"labels":{"a":true}}}}`, "", `the value of "a" is no string`},
	} {
		old := inTopologyForm(t, strings.Replace(c.spec, "{", `{"retainReplicas":true,`, 1))
		old.Object["spec"].(map[string]any)["retainReplicas"] = true
		if c.spec == "{}" {
			t.Fatal("an update must change something")
		}
		if c.status != "" {
			old.Object["status"] = parse(t, c.status).Object
		}
		obj := inTopologyForm(t, c.spec)
		for form, req := range map[string]*Request{
			"topology form": requestFor(obj, old),
			"cluster form": requestFor(&unstructured.Unstructured{Object: topology.ToClusterForm(obj.Object)},
				&unstructured.Unstructured{Object: topology.ToClusterForm(old.Object)}),
		} {
			t.Run(form+": "+name, func(t *testing.T) {
				warnings, err := newAdmitter(acme()).Validate(context.Background(), req)
				if err != nil {
					t.Fatal(err)
				}
				want := c.want
				if form == "cluster form" {
					want = strings.NewReplacer("rz09x", "rz09x.acme-prod.cell").Replace(inClusterWords.Replace(want))
				}
				got := strings.Join(warnings, "\n")
				if want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestWhatKubectlApplyLeavesBehindIsTold(t *testing.T) {
	const selector = `{"topologySelector":{"matchLabels":{"city":"hangzhou"}}}`
	for name, c := range map[string]struct{ stored, before, applied, want string }{
		"an empty mask that is not empty":            {`{"topologies":[{"name":"rz00a"}]}`, "x", `{}`, "spec.placementMask.topologies stays"},
		"an empty mask over a selector":              {selector, "x", `{}`, "spec.placementMask.topologySelector stays"},
		"an empty mask that is empty":                {`{}`, "x", `{}`, ""},
		"a mask of another manager":                  {`{"topologies":[{"name":"rz00a"}]}`, "x", `null`, ""},
		"the mask that was applied":                  {`{"topologies":[{"name":"rz00a"}]}`, "x", `{"topologies":[{"name":"rz00a"}]}`, ""},
		"a request that applied nothing":             {`{"topologies":[{"name":"rz00a"}]}`, "", `{}`, ""},
		"an annotation that is nobody's JSON":        {`{"topologies":[{"name":"rz00a"}]}`, "x", `}`, ""},
		"an annotation in which the mask is no mask": {`{"topologies":[{"name":"rz00a"}]}`, "x", `"all"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			const key = "kubectl.kubernetes.io/last-applied-configuration"
			old := inTopologyForm(t, `{"topologyType":"cell","placement":{"topologies":[{"name":"rz00a"}]},"placementMask":`+c.stored+`}`)
			obj := old.DeepCopy()
			obj.SetAnnotations(map[string]string{key: `{"spec":{"placement":{"topologies":[{"name":"rz00a"}]},"placementMask":` + c.applied + `}}`})
			old.SetAnnotations(map[string]string{key: c.before})
			if c.before == "" {
				old.SetAnnotations(obj.GetAnnotations())
			}
			changed := obj.DeepCopy()
			changed.Object["spec"].(map[string]any)["template"] = map[string]any{"data": map[string]any{"a": "b"}}
			for _, obj := range []*unstructured.Unstructured{obj, changed} {
				warnings, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, old))
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(warnings, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestCompletingAFederatedObject(t *testing.T) {
	const finalizer = "kubefed.io/sync-controller"
	complete := func(t *testing.T, req *Request) {
		t.Helper()
		if err := newAdmitter(acme()).Mutate(context.Background(), req); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a creation gets the finalizer once and the namespace's owner", func(t *testing.T) {
		obj := inTopologyForm(t, `{}`)
		obj.SetLabels(map[string]string{"tenancy.cellfed.io/tenant": "rival", "app": "web"})
		obj.SetFinalizers([]string{"mine"})
		complete(t, requestFor(obj, nil))
		complete(t, requestFor(obj, nil))
		if d := cmp.Diff([]string{"mine", finalizer}, obj.GetFinalizers()); d != "" {
			t.Error(d)
		}
		want := map[string]string{"app": "web", "tenancy.cellfed.io/tenant": "acme", "tenancy.cellfed.io/workspace": "prod"}
		if d := cmp.Diff(want, obj.GetLabels()); d != "" {
			t.Error(d)
		}
	})
	t.Run("an update gets no finalizer back, and no other owner", func(t *testing.T) {
		old, obj := inTopologyForm(t, `{}`), inTopologyForm(t, `{"template":{}}`)
		obj.SetLabels(map[string]string{"tenancy.cellfed.io/tenant": "rival"})
		complete(t, requestFor(obj, old))
		if len(obj.GetFinalizers()) != 0 {
			t.Error(obj.GetFinalizers())
		}
		if d := cmp.Diff(old.GetLabels(), obj.GetLabels()); d != "" {
			t.Error(d)
		}
	})
	t.Run("a type without a propagator of ours gets no finalizer that nobody would take off", func(t *testing.T) {
		obj := inTopologyForm(t, `{}`)
		obj.SetKind("FederatedUnknown")
		complete(t, requestFor(obj, nil))
		if len(obj.GetFinalizers()) != 0 {
			t.Error(obj.GetFinalizers())
		}
	})
	t.Run("an owner that was forged on the way is refused", func(t *testing.T) {
		obj := inTopologyForm(t, `{}`)
		obj.SetLabels(map[string]string{"tenancy.cellfed.io/tenant": "rival"})
		_, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil))
		wantFault(t, err, "metadata.labels", "those of namespace acme-prod")
	})
}

func TestAKindOutsideEveryFederatedTypeConfigIsNoneOfOurs(t *testing.T) {
	obj := parse(t, `{"apiVersion":"example.com/v1","kind":"FederatedLearningJob","metadata":{"name":"w","namespace":"acme-prod"},"spec":{"placement":"gpu"}}`)
	if _, err := newAdmitter(acme()).Validate(context.Background(), requestFor(obj, nil)); err != nil {
		t.Error(err)
	}
}
