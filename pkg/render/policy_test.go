package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/annotation"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/retain"
)

func policyOf(t testing.TB, patterns, retained []string) Policy {
	t.Helper()
	a, errs := annotation.Parse(patterns, field.NewPath("a"))
	r, more := retain.Parse(retained, field.NewPath("r"))
	if errs = append(errs, more...); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	return Policy{Annotations: a, Retained: r}
}

func annotated(annotations map[string]any) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": annotations}, "spec": map[string]any{"replicas": int64(1)}}
}

func memberObject(annotations map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": int64(1)}}}
	u.SetName("web")
	u.SetUID("uid-1")
	u.SetResourceVersion("7")
	u.SetLabels(map[string]string{wellknown.ManagedLabel: "true"})
	all := map[string]string{wellknown.OwnerAnnotation: owner.String()}
	for k, v := range annotations {
		all[k] = v
	}
	u.SetAnnotations(all)
	return u
}

func TestAnnotationsThatMatchAreSpecAndTheOthersAreTheMembers(t *testing.T) {
	patterns := []string{"lb/*", "!lb/status-*"}
	template := map[string]any{"lb/port": "80", "lb/status-ip": "mine", "other": "mine", wellknown.OwnerAnnotation: "forged"}
	for name, tc := range map[string]struct {
		patterns  []string
		overrides []any
		member    map[string]string // nil = no copy yet
		want      map[string]string
	}{
		"at the first write":       {patterns: patterns, want: map[string]string{"lb/port": "80"}},
		"nothing without a policy": {},
		"beside what the member holds": {patterns: patterns, member: map[string]string{"lb/status-ip": "1.2.3.4", "x": "y"},
			want: map[string]string{"lb/port": "80", "lb/status-ip": "1.2.3.4", "x": "y"}},
		"in place of what somebody made of them, and of those that the template has no more": {patterns: patterns,
			member: map[string]string{"lb/port": "9", "lb/old": "z", "x": "y"}, want: map[string]string{"lb/port": "80", "x": "y"}},
		"as overrides leave them": {patterns: patterns, member: map[string]string{"x": "y"},
			overrides: []any{map[string]any{"path": "/metadata/annotations/lb~1port", "value": "81"}, map[string]any{"op": "add", "path": "/metadata/annotations/lb~1new", "value": "n"},
				map[string]any{"op": "add", "path": "/metadata/annotations/x", "value": "theirs is theirs"}},
			want: map[string]string{"lb/port": "81", "lb/new": "n", "x": "y"}},
		"a whole map of an override costs the member nothing": {patterns: patterns, member: map[string]string{"x": "y", "lb/status-ip": "1.2.3.4"},
			overrides: []any{map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]any{"lb/port": "82", "foreign": "z"}}},
			want:      map[string]string{"lb/port": "82", "x": "y", "lb/status-ip": "1.2.3.4"}},
		"an override removes what the template says": {patterns: patterns, member: map[string]string{"lb/port": "80"},
			overrides: []any{map[string]any{"op": "remove", "path": "/metadata/annotations/other"}, map[string]any{"op": "remove", "path": "/metadata/annotations/lb~1port"}}},
		"without a policy a whole map replaces all, as in KubeFed": {member: map[string]string{"x": "y"},
			overrides: []any{map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]any{"a": "b"}}}, want: map[string]string{"a": "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(annotated(template), tc.overrides...)
			in.Policy = policyOf(t, tc.patterns, nil)
			if tc.member != nil {
				in.Observed = memberObject(tc.member)
			}
			u := desired(t, in)
			want := map[string]string{wellknown.OwnerAnnotation: owner.String()}
			for k, v := range tc.want {
				want[k] = v
			}
			if diff := cmp.Diff(want, u.GetAnnotations()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnnotationsThatAreNoStringsAreToldWhereTheyMatter(t *testing.T) {
	in := input(annotated(map[string]any{"lb/port": int64(80), "other": true}))
	in.Policy = policyOf(t, []string{"lb/*"}, nil)
	if _, err := Desired(in); err == nil || !strings.Contains(err.Error(), "template.metadata.annotations[lb/port] is 80, not a string") {
		t.Errorf("%v", err)
	}
	in.Policy = Policy{}
	if _, err := Desired(in); err != nil {
		t.Errorf("what is not written is nobody's trouble: %v", err)
	}
}

func TestWhatTheMemberHoldsOfRetainedFieldsIsWritten(t *testing.T) {
	in := input(map[string]any{"spec": map[string]any{"replicas": int64(1), "paused": false}})
	in.Policy = policyOf(t, nil, []string{"/spec/paused"})
	in.Observed = memberObject(nil)
	in.Observed.Object["spec"] = map[string]any{"replicas": int64(5), "paused": true}
	in.Observed.Object["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"uid": "app"}}
	u := desired(t, in)
	if diff := cmp.Diff(map[string]any{"replicas": int64(1), "paused": true}, u.Object["spec"]); diff != "" {
		t.Error(diff)
	}
	if len(u.GetOwnerReferences()) != 1 {
		t.Error("an owner that the member gave the copy is gone")
	}
}

func version(t testing.TB, l Lens, u *unstructured.Unstructured) string {
	t.Helper()
	v, err := l.Version(u)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTheLensSeesWhatIsThePlanesOnly(t *testing.T) {
	deployment := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	lens := NewLens(deployment, policyOf(t, []string{"lb/*"}, []string{"/spec/paused", "/metadata/labels/team"}), true)
	base := func() *unstructured.Unstructured { return memberObject(map[string]string{"lb/port": "80", "x": "y"}) }
	want := version(t, lens, base())
	edit := func(key, value string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) {
			a := u.GetAnnotations()
			a[key] = value
			u.SetAnnotations(a)
		}
	}
	label := func(key, value string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) {
			l := u.GetLabels()
			l[key] = value
			u.SetLabels(l)
		}
	}
	spec := func(key string, value any) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) { u.Object["spec"].(map[string]any)[key] = value }
	}
	for name, tc := range map[string]struct {
		change func(*unstructured.Unstructured)
		same   bool
	}{
		"a foreign annotation":               {edit("x", "z"), true},
		"a new foreign annotation":           {edit("status", "1"), true},
		"an annotation of ours":              {edit("lb/port", "81"), false},
		"one that we did not ask for":        {edit("lb/more", "1"), false},
		"the owner mark":                     {edit(wellknown.OwnerAnnotation, "x"), false},
		"replicas, which are the member's":   {spec("replicas", int64(9)), true},
		"a retained field":                   {spec("paused", true), true},
		"a retained label":                   {label("team", "x"), true},
		"another label":                      {label("app", "x"), false},
		"the label that says hands off":      {label(wellknown.ManagedLabel, "false"), false},
		"another field":                      {spec("minReadySeconds", int64(1)), false},
		"status":                             {func(u *unstructured.Unstructured) { u.Object["status"] = map[string]any{"a": "b"} }, true},
		"replicas gone, with nothing beside": {func(u *unstructured.Unstructured) { delete(u.Object, "spec") }, true},
	} {
		u := base()
		tc.change(u)
		before := u.DeepCopy()
		if got := version(t, lens, u) == want; got != tc.same {
			t.Errorf("%s: same = %t, want %t", name, got, tc.same)
		}
		if diff := cmp.Diff(before.Object, u.Object); diff != "" {
			t.Errorf("%s: looking changed the object:\n%s", name, diff)
		}
	}
}

func TestVersionsOfTwoPoliciesSayNothingAboutEachOther(t *testing.T) {
	deployment := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	u := memberObject(nil)
	plain := NewLens(deployment, Policy{}, false)
	if v := version(t, plain, u); plain.ID() != "" || v != version(t, Lens{}, u) || PolicyOf(v) != "" || strings.Contains(v, "-") {
		t.Errorf("the version under the default policy is %q: recorded ones would not be valid any more", v)
	}
	seen := map[string]bool{}
	for _, l := range []Lens{
		plain,
		NewLens(deployment, Policy{}, true),
		NewLens(deployment, policyOf(t, []string{"a"}, nil), false),
		NewLens(deployment, policyOf(t, []string{"a", "b"}, nil), false),
		NewLens(deployment, policyOf(t, nil, []string{"/a"}), false),
		NewLens(schema.GroupKind{Kind: "Service"}, Policy{}, false),
		NewLens(schema.GroupKind{Kind: "PersistentVolumeClaim"}, Policy{}, false),
	} {
		v := version(t, l, u)
		if PolicyOf(v) != l.ID() || seen[l.ID()] {
			t.Errorf("version %q of policy %q", v, l.ID())
		}
		seen[l.ID()] = true
	}
}

func TestWhatDependsOnTheTemplateIsSeenThroughIt(t *testing.T) {
	in := input(nil)
	in.Target = schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}
	lens := NewLens(in.Target.GroupKind(), Policy{}, false)
	api := func(bundle string) *unstructured.Unstructured {
		u := memberObject(nil)
		u.Object["spec"] = map[string]any{"caBundle": bundle, "group": "g"}
		return u
	}
	if !lens.NeedsAsked() {
		t.Fatal("the CA bundle of an APIService does not depend on its template")
	}
	in.Content.Template = map[string]any{"spec": map[string]any{"group": "g"}}
	if l := lens.Asking(in); version(t, l, api("a")) != version(t, l, api("b")) {
		t.Error("a bundle that the template does not give is drift")
	}
	in.Content.Overrides = []any{map[string]any{"op": "add", "path": "/spec/caBundle", "value": "a"}}
	if l := lens.Asking(in); version(t, l, api("a")) == version(t, l, api("b")) {
		t.Error("a bundle that an override gives may be changed without being noticed")
	}
}

func TestDifferencesAreNamed(t *testing.T) {
	lens := NewLens(schema.GroupKind{Group: "apps", Kind: "Deployment"}, policyOf(t, []string{"lb.example.com/*"}, []string{"/spec/paused"}), false)
	make := func(labels map[string]string, annotations map[string]string, spec map[string]any) *unstructured.Unstructured {
		u := memberObject(annotations)
		labels[wellknown.ManagedLabel] = "true"
		u.SetLabels(labels)
		u.Object["spec"] = spec
		return u
	}
	other := make(map[string]string{"app": "web"}, map[string]string{"lb.example.com/port": "80", "x": "y"},
		map[string]any{"replicas": int64(2), "containers": []any{map[string]any{"name": "app", "image": "v1"}}, "list": []any{int64(1)}})
	is := make(map[string]string{"app": "other", "added": "x"}, map[string]string{"lb.example.com/port": "81", "lb.example.com/more": "", "x": "z"},
		map[string]any{"replicas": int64(3), "paused": true, "default": "x", "containers": []any{map[string]any{"name": "app", "image": "v2", "pullPolicy": "Always"}}, "list": []any{int64(1), int64(2)}})
	labels := []string{"metadata.labels.added", "metadata.labels.app", "metadata.annotations[lb.example.com/more]", "metadata.annotations[lb.example.com/port]"}
	if diff := cmp.Diff(append(labels[:4:4], "spec.containers[app].image", "spec.list", "spec.replicas"), lens.Differences(is, other, false, 99)); diff != "" {
		t.Errorf("from what was asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(labels[:4:4], "spec.containers[app].image", "spec.containers[app].pullPolicy", "spec.default", "spec.list", "spec.replicas"),
		lens.Differences(is, other, true, 99)); diff != "" {
		t.Errorf("from what was confirmed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(labels[:2], lens.Differences(is, other, true, 2)); diff != "" {
		t.Errorf("at most two (-want +got):\n%s", diff)
	}
	if d := lens.Differences(other, other, true, 99); d != nil {
		t.Errorf("an object differs from itself: %v", d)
	}
}
