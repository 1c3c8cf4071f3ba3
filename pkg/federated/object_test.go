package federated

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// read reads an object of the topology type cell in namespace acme whose spec is this JSON, and the type before it.
func read(t *testing.T, spec string) *Object {
	t.Helper()
	return readRaw(t, `{"metadata":{"namespace":"acme","name":"web"},"spec":`+spec+`}`)
}

func readRaw(t *testing.T, raw string) *Object {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{}}
	if err := utiljson.Unmarshal([]byte(raw), &u.Object); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return Read(u)
}

func faults(o *Object) []string {
	var paths []string
	for _, f := range o.Faults {
		paths = append(paths, f.Path)
	}
	return paths
}

func TestNamesInAPlacement(t *testing.T) {
	for name, tc := range map[string]struct {
		placement string
		named     bool
		names     []string
		faults    []string
	}{
		"nothing is said":                         {`{}`, false, nil, nil},
		"null says nothing":                       {`{"clusters":null}`, false, nil, nil},
		"an empty list names nobody":              {`{"clusters":[]}`, true, nil, nil},
		"full names stay as they are, in order":   {`{"clusters":[{"name":"b.acme.cell"},{"name":"a.acme.cell"}]}`, true, []string{"b.acme.cell", "a.acme.cell"}, nil},
		"twice is twice":                          {`{"clusters":[{"name":"a.acme.cell"},{"name":"a.acme.cell"}]}`, true, []string{"a.acme.cell", "a.acme.cell"}, nil},
		"a name of another namespace stays":       {`{"clusters":[{"name":"a.other.cell"}]}`, true, []string{"a.other.cell"}, nil},
		"a verbatim topologyName is a unit's":     {`{"clusters":[{"topologyName":"a"},{"name":"b.acme.cell"}]}`, true, []string{"a.acme.cell", "b.acme.cell"}, nil},
		"the form's own word wins over the other": {`{"clusters":[{"name":"b.acme.cell","topologyName":"a"}]}`, true, []string{"b.acme.cell"}, nil},
		"an entry without a name":                 {`{"clusters":[{"name":"a.acme.cell"},{}]}`, true, []string{"a.acme.cell"}, []string{"spec.placement.clusters[1]"}},
		"an entry with an empty name":             {`{"clusters":[{"name":""}]}`, true, nil, []string{"spec.placement.clusters[0]"}},
		"an entry whose name is a number":         {`{"clusters":[{"name":7}]}`, true, nil, []string{"spec.placement.clusters[0]"}},
		"an entry that is a string":               {`{"clusters":["a"]}`, true, nil, []string{"spec.placement.clusters[0]"}},
		"an entry that is null":                   {`{"clusters":[null]}`, true, nil, []string{"spec.placement.clusters[0]"}},
		"a list that is an object":                {`{"clusters":{"name":"a"}}`, true, nil, []string{"spec.placement.clusters"}},
		"a placement that is a string":            {`"everywhere"`, false, nil, []string{"spec.placement"}},
		"a placement that is null":                {`null`, false, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := read(t, `{"topologyType":"cell","placement":`+tc.placement+`}`)
			if diff := cmp.Diff(tc.names, o.Placement.Names); diff != "" || o.Placement.Named != tc.named {
				t.Errorf("named %t, (-want +got):\n%s", o.Placement.Named, diff)
			}
			if diff := cmp.Diff(tc.faults, faults(o)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("under topology cluster, names of both words are members", func(t *testing.T) {
		o := read(t, `{"placement":{"clusters":[{"name":"hz-1"},{"topologyName":"hz-2"}]}}`)
		if diff := cmp.Diff([]string{"hz-1", "hz-2"}, o.Placement.Names); diff != "" || o.TopologyType != "cluster" || len(o.Faults) > 0 {
			t.Errorf("%v %v (-want +got):\n%s", o.TopologyType, o.Faults, diff)
		}
	})
}

func TestSelectors(t *testing.T) {
	unit := func(namespace, kind, city string) labels.Set {
		return labels.Set{wellknown.TopologyTypeLabel: kind, wellknown.TopologyNamespaceLabel: namespace, "city": city}
	}
	ours, theirs, zone, elsewhere := unit("acme", "cell", "hz"), unit("other", "cell", "hz"), unit("acme", "zone", "hz"), unit("acme", "cell", "sh")
	const scope = `{"key":"topology.cellfed.io/type","operator":"In","values":["cell"]},{"key":"topology.cellfed.io/namespace","operator":"In","values":["acme"]}`
	for name, tc := range map[string]struct {
		placement string
		want      []labels.Set // of the four; nil = no selector
		faults    []string
	}{
		"none":                                  {`{}`, nil, nil},
		"null is none":                          {`{"clusterSelector":null,"topologySelector":null}`, nil, nil},
		"an empty clusterSelector is all":       {`{"clusterSelector":{}}`, []labels.Set{ours, theirs, zone, elsewhere}, nil},
		"a clusterSelector means what it says":  {`{"clusterSelector":{"matchLabels":{"city":"hz"}}}`, []labels.Set{ours, theirs, zone}, nil},
		"with the two requirements of a unit's": {`{"clusterSelector":{"matchLabels":{"city":"hz"},"matchExpressions":[` + scope + `]}}`, []labels.Set{ours}, nil},
		"a verbatim topologySelector stays within type and namespace": {`{"topologySelector":{"matchLabels":{"city":"hz"}}}`, []labels.Set{ours}, nil},
		"an empty one too":                      {`{"topologySelector":{}}`, []labels.Set{ours, elsewhere}, nil},
		"both, as conversion leaves them":       {`{"clusterSelector":{"matchLabels":{"city":"hz"},"matchExpressions":[` + scope + `]},"topologySelector":{"matchLabels":{"city":"hz"},"matchExpressions":[]}}`, []labels.Set{ours}, nil},
		"both, and they differ":                 {`{"clusterSelector":{"matchLabels":{"city":"hz"}},"topologySelector":{"matchLabels":{"city":"sh"}}}`, []labels.Set{ours, theirs, zone}, []string{"spec.placement"}},
		"an unknown operator":                   {`{"clusterSelector":{"matchExpressions":[{"key":"city","operator":"Near"}]}}`, nil, []string{"spec.placement.clusterSelector"}},
		"a field that selectors do not have":    {`{"clusterSelector":{"matchLabel":{"city":"hz"}}}`, nil, []string{"spec.placement.clusterSelector"}},
		"a label that is a number":              {`{"clusterSelector":{"matchLabels":{"city":7}}}`, nil, []string{"spec.placement.clusterSelector.matchLabels[city]"}},
		"a selector that is a list":             {`{"topologySelector":[]}`, nil, []string{"spec.placement.topologySelector"}},
		"a bad value in the other form's words": {`{"topologySelector":{"matchLabels":{"city":"a b"}}}`, nil, []string{"spec.placement.topologySelector.matchLabels[city]"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := read(t, `{"topologyType":"cell","placement":`+tc.placement+`}`)
			if diff := cmp.Diff(tc.faults, faults(o)); diff != "" {
				t.Errorf("faults %v (-want +got):\n%s", o.Faults, diff)
			}
			if tc.want == nil {
				if o.Placement.Selector != nil {
					t.Errorf("there is a selector: %s", o.Placement.Selector)
				}
				return
			}
			var got []labels.Set
			for _, set := range []labels.Set{ours, theirs, zone, elsewhere} {
				if o.Placement.Selector.Matches(set) {
					got = append(got, set)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A fault is told in status: if it were worded otherwise at every look, status would be written at every look.
func TestFaultsAreWordedTheSameWay(t *testing.T) {
	for _, selector := range []string{
		`{"a":1,"b":1,"c":1,"d":1}`,
		`{"matchLabels":{"x":1,"y":true,"z":[]}}`,
		`{"matchLabels":{"x y":"1","y z":"2","z a":"b c"}}`,
		`{"matchExpressions":[{"a":1,"b":1,"c":1,"key":"k","operator":"Exists"},{"d":1,"e":1,"f":1}]}`,
		`{"matchExpressions":[{"key":1,"operator":2,"values":3}]}`,
	} {
		words := map[string]bool{}
		for range 100 {
			o := read(t, `{"placement":{"clusterSelector":`+selector+`}}`)
			if len(o.Faults) != 1 {
				t.Fatalf("%s: %v", selector, o.Faults)
			}
			words[o.Faults[0].String()] = true
		}
		if len(words) != 1 {
			t.Errorf("%s is told in %d ways: %v", selector, len(words), words)
		}
	}
}

func TestAMaskThatIsThereIsAMask(t *testing.T) {
	for name, tc := range map[string]struct {
		mask   string
		masked bool
		names  []string
		faults []string
	}{
		"absent is no mask":                          {``, false, nil, nil},
		"null is no mask, as an API server reads it": {`,"placementMask":null`, false, nil, nil},
		"empty is a mask that admits nobody":         {`,"placementMask":{}`, true, nil, nil},
		"an empty list too":                          {`,"placementMask":{"clusters":[]}`, true, nil, nil},
		"names":                                      {`,"placementMask":{"clusters":[{"name":"a.acme.cell"},{"topologyName":"b"}]}`, true, []string{"a.acme.cell", "b.acme.cell"}, nil},
		"what cannot be read is a mask and a fault":  {`,"placementMask":"all"`, true, nil, []string{"spec.placementMask"}},
		"false is no way to say none":                {`,"placementMask":false`, true, nil, []string{"spec.placementMask"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := read(t, `{"topologyType":"cell"`+tc.mask+`}`)
			if (o.Mask != nil) != tc.masked {
				t.Fatalf("mask: %+v", o.Mask)
			}
			if o.Mask != nil {
				if diff := cmp.Diff(tc.names, o.Mask.Names); diff != "" || o.Mask.Selector != nil {
					t.Errorf("%v (-want +got):\n%s", o.Mask.Selector, diff)
				}
			}
			if diff := cmp.Diff(tc.faults, faults(o)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverrides(t *testing.T) {
	op := func(path string) map[string]any { return map[string]any{"path": path} }
	for name, tc := range map[string]struct {
		overrides string
		want      map[string][]any
		faults    []string
	}{
		"null is none": {`null`, nil, nil},
		"by both words": {`[{"clusterName":"a.acme.cell","clusterOverrides":[{"path":"/x"}]},{"topologyName":"b","clusterOverrides":[{"path":"/y"}]}]`,
			map[string][]any{"a.acme.cell": {op("/x")}, "b.acme.cell": {op("/y")}}, nil},
		"an entry without overrides is an entry": {`[{"clusterName":"a.acme.cell"}]`, map[string][]any{"a.acme.cell": nil}, nil},
		"a second entry for one unit": {`[{"clusterName":"a.acme.cell","clusterOverrides":[{"path":"/x"}]},{"topologyName":"a","clusterOverrides":[]}]`,
			map[string][]any{"a.acme.cell": {op("/x")}}, []string{"spec.overrides[1]"}},
		"an entry for nobody":        {`[{"clusterOverrides":[]}]`, map[string][]any{}, []string{"spec.overrides[0]"}},
		"an entry that is a number":  {`[1]`, map[string][]any{}, []string{"spec.overrides[0]"}},
		"overrides that are no list": {`[{"clusterName":"a.acme.cell","clusterOverrides":{}}]`, map[string][]any{"a.acme.cell": nil}, []string{"spec.overrides[0].clusterOverrides"}},
		"no list at all":             {`{}`, nil, []string{"spec.overrides"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := read(t, `{"topologyType":"cell","overrides":`+tc.overrides+`}`)
			if diff := cmp.Diff(tc.want, o.Overrides); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.faults, faults(o)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGarbledFieldsAreFaults(t *testing.T) {
	for spec, want := range map[string][]string{
		`{}`:                                nil,
		`null`:                              nil,
		`{"topologyType":null}`:             nil,
		`{"topologyType":""}`:               nil,
		`{"retainReplicas":null}`:           nil,
		`[]`:                                {"spec"},
		`{"topologyType":7}`:                {"spec.topologyType"},
		`{"template":[]}`:                   {"spec.template"},
		`{"retainReplicas":"true"}`:         {"spec.retainReplicas"},
		`{"template":7,"placement":7}`:      {"spec.template", "spec.placement"},
		`{"topologyType":{},"overrides":7}`: {"spec.topologyType", "spec.overrides"},
	} {
		o := read(t, spec)
		if diff := cmp.Diff(want, faults(o)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", spec, diff)
		}
		for _, f := range o.Faults {
			if !strings.HasPrefix(f.String(), f.Path+": is ") {
				t.Errorf("%s: %q does not say what is wrong", spec, f)
			}
		}
	}
}

func TestWhatMetadataSays(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "FederatedDeployment"}}
	u.SetNamespace("acme")
	u.SetName("web")
	u.SetUID("u1")
	u.SetGeneration(7)
	o := Read(u)
	if o.Kind != "FederatedDeployment" || o.Namespace != "acme" || o.Name != "web" || o.UID != "u1" || o.Generation != 7 ||
		o.Deleting || o.HasFinalizer || o.Orphan || o.Adopt || len(o.Faults) > 0 {
		t.Errorf("%+v", o)
	}
	now := metav1.Unix(1795262400, 0)
	u.SetDeletionTimestamp(&now)
	u.SetFinalizers([]string{"other", wellknown.SyncFinalizer})
	u.SetAnnotations(map[string]string{wellknown.OrphanAnnotation: "true", wellknown.AdoptAnnotation: "true"})
	if o = Read(u); !o.Deleting || !o.HasFinalizer || !o.Orphan || !o.Adopt {
		t.Errorf("%+v", o)
	}
	u.SetFinalizers([]string{"other"})
	u.SetAnnotations(map[string]string{wellknown.OrphanAnnotation: "false", wellknown.AdoptAnnotation: "yes"})
	if o = Read(u); o.HasFinalizer || o.Orphan || o.Adopt {
		t.Errorf("%+v", o)
	}
}

func TestStatusIsReadWhateverItHolds(t *testing.T) {
	o := readRaw(t, `{"status":{"observedGeneration":4,"clusters":[
		{"name":"a.acme.cell","status":"Pending","message":"m","generation":2,"revision":"r","version":"v","held":true,"inventory":true,"remoteStatus":{"x":1}},
		{"name":"b","generation":"two","held":"yes","remoteStatus":[]},{"status":"nameless"},7,null],
		"conditions":[{"type":"Propagation","status":"False","reason":"r","message":"m","observedGeneration":4,"lastUpdateTime":"u","lastTransitionTime":"t"},7]}}`)
	want := Status{ObservedGeneration: 4,
		Units: []UnitStatus{
			{Name: "a.acme.cell", Code: "Pending", Message: "m", Generation: 2, Revision: "r", Version: "v", Held: true, Inventory: true, RemoteStatus: map[string]any{"x": int64(1)}},
			{Name: "b"},
		},
		Conditions: []Condition{
			{Type: "Propagation", Status: "False", Reason: "r", Message: "m", ObservedGeneration: 4, LastUpdateTime: "u", LastTransitionTime: "t"}, {},
		},
	}
	if diff := cmp.Diff(want, o.Status); diff != "" || len(o.Faults) > 0 {
		t.Errorf("%v (-want +got):\n%s", o.Faults, diff)
	}
	if _, there := o.Status.Unit("c"); there {
		t.Error("a unit from nowhere")
	}
	if _, there := o.Status.Condition("Held"); there {
		t.Error("a condition from nowhere")
	}
	for _, status := range []string{`7`, `null`, `[]`, `{"clusters":7,"conditions":"x","observedGeneration":"y"}`} {
		if o := readRaw(t, `{"status":`+status+`}`); len(o.Status.Units) > 0 || len(o.Status.Conditions) > 0 || o.Status.ObservedGeneration != 0 {
			t.Errorf("%s: %+v", status, o.Status)
		}
	}
}

func FuzzReadNeverPanicsAndIsTheSameTwice(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"spec":null}`, `{"metadata":7,"spec":[],"status":"x"}`, `{"metadata":{"finalizers":"x","annotations":[],"labels":7}}`,
		`{"metadata":{"namespace":"acme","generation":1.5,"deletionTimestamp":"x"},"spec":{"topologyType":"a b","placement":{"topologySelector":{}}}}`,
		`{"spec":{"topologyType":"cell","placement":{"clusters":[{"topologyName":"a"},{"name":7},null]},"placementMask":{"clusterSelector":{"matchExpressions":[{"key":"","operator":"In"}]}}}}`,
		`{"spec":{"overrides":[{"clusterName":"a","clusterOverrides":[null]},{"topologyName":"a"}],"template":{"x":1e400}}}`,
		`{"status":{"clusters":[{"name":"a","generation":9223372036854775808}],"conditions":[[]]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		if utiljson.Unmarshal(raw, &u.Object) != nil || u.Object == nil {
			return // no JSON object
		}
		o := Read(u)
		again := Read(u)
		if diff := cmp.Diff(o.Faults, again.Faults); diff != "" {
			t.Errorf("read twice, the faults differ:\n%s", diff)
		}
		for _, name := range append(append([]string(nil), o.Placement.Names...), "a") {
			r, err := o.ContentFor(name).Revision()
			if s, err2 := again.ContentFor(name).Revision(); r != s || (err == nil) != (err2 == nil) {
				t.Errorf("read twice, %s has revisions %s and %s", name, r, s)
			}
		}
	})
}
