package propagatedversion

import (
	"crypto/md5"
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubefedcommon "sigs.k8s.io/kubefed/pkg/apis/core/common"
	kubefedv1alpha1 "sigs.k8s.io/kubefed/pkg/apis/core/v1alpha1"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, spec string) map[string]any {
	t.Helper()
	o := map[string]any{}
	if err := yaml.Unmarshal([]byte("spec: "+spec), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// md5Of is the sum of a text that was written out by hand.
func md5Of(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// kubefed 3.20: the recipe of the hashes, verified on live objects of KubeFed.
func TestHashesAreKubeFeds(t *testing.T) {
	for name, c := range map[string]struct{ spec, template, overrides string }{
		"no overrides":      {`{template: {b: {z: 1, a: "<&>"}, a: [true, null]}}`, md5Of(`{"a":[true,null],"b":{"a":"\u003c\u0026\u003e","z":1}}` + "\n"), "2979b7538b527abe06492021841caf47"},
		"no template":       {`{}`, "", "2979b7538b527abe06492021841caf47"},
		"an empty template": {`{template: {}}`, md5Of("{}\n"), "2979b7538b527abe06492021841caf47"},
		"an empty list":     {`{overrides: []}`, "", md5Of("{\"overrides\":[]}\n")},
		"overrides in KubeFed's order, without what it does not know": {
			`{overrides: [{clusterOverrides: [{value: 5, path: /spec/replicas, more: x}, {op: remove, path: /a}], clusterName: west}, {clusterName: east}]}`, "",
			md5Of(`{"overrides":[{"clusterName":"west","clusterOverrides":[{"path":"/spec/replicas","value":5},{"op":"remove","path":"/a"}]},{"clusterName":"east"}]}` + "\n")},
		"numbers are floats": {`{overrides: [{clusterName: a, clusterOverrides: [{path: /n, value: 1000000000000000000000}]}]}`, "",
			md5Of(`{"overrides":[{"clusterName":"a","clusterOverrides":[{"path":"/n","value":1e+21}]}]}` + "\n")},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, c.spec)
			if got, err := Template(o); err != nil || got != c.template {
				t.Errorf("template %q, %v; want %q", got, err, c.template)
			}
			if got, err := Overrides(o); err != nil || got != c.overrides {
				t.Errorf("overrides %q, %v; want %q", got, err, c.overrides)
			}
		})
	}
	if got, err := Overrides(map[string]any{}); err != nil || got != "" {
		t.Errorf("without a spec: %q, %v", got, err)
	}
}

// The hash of the template is what apimachinery's own encoder makes of it, as in KubeFed.
func TestATemplateIsEncodedAsUnstructuredObjectsAre(t *testing.T) {
	o := object(t, `{template: {kind: x, metadata: {labels: {a: "ü \u2028"}}, spec: {replicas: 3, f: 0.5, l: [1, "two", {}]}}}`)
	raw, err := (&unstructured.Unstructured{Object: o["spec"].(map[string]any)["template"].(map[string]any)}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Template(o); err != nil || got != md5Of(string(raw)) {
		t.Errorf("%q, %v; want the sum of %q", got, err, raw)
	}
}

// kubefed 1.4: names and versions.
func TestNamesAndVersionsAreKubeFeds(t *testing.T) {
	if got, want := Name("ConfigMap", "web.x"), kubefedcommon.PropagatedVersionName("ConfigMap", "web.x"); got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"resourceVersion": "17"}}}
	if got := Of(u); got != "rv:17" {
		t.Error(got)
	}
	u.SetGeneration(4)
	if got := Of(u); got != "gen:4" {
		t.Error(got)
	}
	want := kubefedv1alpha1.PropagatedVersionStatus{TemplateVersion: "t", OverrideVersion: "o", ClusterVersions: []kubefedv1alpha1.ClusterObjectVersion{
		{ClusterName: "a", Version: "gen:1"}, {ClusterName: "b", Version: "rv:2"}}}
	if diff := cmp.Diff(want, Status("t", "o", map[string]string{"b": "rv:2", "a": "gen:1"})); diff != "" {
		t.Error(diff)
	}
}
