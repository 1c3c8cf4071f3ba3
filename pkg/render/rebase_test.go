package render

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// patched applies a patch as an API server does.
func patched(t testing.TB, u *unstructured.Unstructured, ops []Op) (*unstructured.Unstructured, error) {
	t.Helper()
	raw, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(body)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	after, err := p.Apply(raw)
	if err != nil {
		return nil, err
	}
	out := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(after, &out.Object); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

func serviceInput(t testing.TB) Input {
	in := input(map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"app": "web"}, "annotations": map[string]any{"lb/port": "80"}},
		"spec":     map[string]any{"ports": []any{map[string]any{"name": "http", "port": int64(80)}}, "type": "LoadBalancer"},
	})
	in.Target.Group, in.Target.Kind = "", "Service"
	in.Policy = policyOf(t, []string{"lb/*"}, nil)
	return in
}

// serviceInMember is the copy before the write: a revision behind, with what the member's controllers have set.
func serviceInMember() *unstructured.Unstructured {
	u := memberObject(map[string]string{"lb/port": "79", "lb/old": "x", "status/ip": "1.2.3.4"})
	u.SetLabels(map[string]string{wellknown.ManagedLabel: "true", "gone": "x"})
	u.Object["spec"] = map[string]any{"clusterIP": "10.0.0.1", "type": "LoadBalancer", "sessionAffinity": "None",
		"ports": []any{map[string]any{"name": "http", "port": int64(8080), "nodePort": int64(30001)}, map[string]any{"name": "https", "port": int64(443), "nodePort": int64(30002)}}}
	u.SetFinalizers([]string{"cloud/lb"})
	return u
}

func rebased(t testing.TB, in Input, fresh *unstructured.Unstructured) []Op {
	t.Helper()
	ops, still, err := Rebase(in, fresh)
	if err != nil || !still {
		t.Fatalf("still %t, %v", still, err)
	}
	return ops
}

func TestARebasedWriteBringsWhatIsAskedAndKeepsWhatCameMeanwhile(t *testing.T) {
	in := serviceInput(t)
	in.Observed = serviceInMember()
	fresh := serviceInMember()
	a := fresh.GetAnnotations()
	a["status/ip"], a["status/step"] = "5.6.7.8", "3"
	fresh.SetAnnotations(a)
	fresh.SetFinalizers([]string{"cloud/lb", "cloud/more"})
	fresh.SetResourceVersion("8")
	after, err := patched(t, fresh, rebased(t, in, fresh))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "uid": "uid-1", "resourceVersion": "8", "finalizers": []any{"cloud/lb", "cloud/more"},
			"labels": map[string]any{wellknown.ManagedLabel: "true", "app": "web"},
			"annotations": map[string]any{"lb/port": "80", "status/ip": "5.6.7.8", "status/step": "3",
				wellknown.OwnerAnnotation: owner.String()}},
		"spec": map[string]any{"clusterIP": "10.0.0.1", "type": "LoadBalancer", "ports": []any{map[string]any{"name": "http", "port": int64(80)}}},
	}
	if diff := cmp.Diff(want, after.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Observed = after
	if ops := rebased(t, in, after); len(ops) != 0 {
		t.Errorf("a copy that is as asked is patched: %v", ops)
	}
}

func TestAPatchFailsAsAWholeWhenItsGroundIsGone(t *testing.T) {
	in := serviceInput(t)
	in.Observed = serviceInMember()
	fresh := serviceInMember()
	ops := rebased(t, in, fresh)
	for name, change := range map[string]func(*unstructured.Unstructured){
		"taken out of the plane's hands": func(u *unstructured.Unstructured) {
			u.SetLabels(map[string]string{wellknown.ManagedLabel: "false", "gone": "x"})
		},
		"without the label": func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"gone": "x"}) },
		"without the mark": func(u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{"lb/port": "79", "lb/old": "x"})
		},
		"made anew": func(u *unstructured.Unstructured) { u.SetUID("uid-2") },
		"going": func(u *unstructured.Unstructured) {
			u.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T12:00:00Z"
		},
		"a list that somebody changed": func(u *unstructured.Unstructured) {
			u.Object["spec"].(map[string]any)["ports"].([]any)[0].(map[string]any)["nodePort"] = int64(30009)
		},
	} {
		moved := serviceInMember()
		change(moved)
		if after, err := patched(t, moved, ops); err == nil {
			t.Errorf("%s: the patch was applied: %v", name, after.Object)
		}
	}
}

func TestWhatIsNotTheSameCopyIsNotRebased(t *testing.T) {
	for name, change := range map[string]func(before, fresh *unstructured.Unstructured){
		"made anew":                func(_, u *unstructured.Unstructured) { u.SetUID("uid-2") },
		"going":                    func(_, u *unstructured.Unstructured) { now := metav1.Now(); u.SetDeletionTimestamp(&now) },
		"taken out of the plane's": func(_, u *unstructured.Unstructured) { u.SetLabels(map[string]string{wellknown.ManagedLabel: "false"}) },
		"of another revision by now": func(_, u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: "{}"})
		},
		"without a mark":              func(_, u *unstructured.Unstructured) { u.SetAnnotations(nil) },
		"one that was not ours":       func(b, _ *unstructured.Unstructured) { b.SetLabels(nil) },
		"one that was never observed": func(b, _ *unstructured.Unstructured) { b.SetUID("") },
	} {
		in := serviceInput(t)
		in.Observed = serviceInMember()
		fresh := serviceInMember()
		change(in.Observed, fresh)
		if ops, still, err := Rebase(in, fresh); still || err != nil {
			t.Errorf("%s: %v %v", name, ops, err)
		}
	}
}

// FuzzRebase lets a member's people do anything to a copy before the look and between the look and the patch: no key of
// theirs is ever lost or changed, and ours are as asked whenever the patch went through.
func FuzzRebase(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed, seed*7)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		in := serviceInput(t)
		in.Content.Template = randomTemplate(r)
		in.Observed = randomCopy(r)
		fresh := in.Observed.DeepCopy()
		meddle(r, fresh, 3)
		ops, still, err := Rebase(in, fresh)
		if err != nil || !still || len(ops) == 0 {
			return
		}
		late := fresh.DeepCopy()
		meddle(r, late, r.IntN(3))
		after, err := patched(t, late, ops)
		if err != nil {
			return // as a whole; the next look follows
		}
		if late.GetLabels()[wellknown.ManagedLabel] != "true" || late.GetUID() != fresh.GetUID() {
			t.Fatalf("written although %v %s", late.GetLabels(), late.GetUID())
		}
		for k, v := range late.GetAnnotations() {
			if !in.Policy.Annotations.Matches(k) && k != wellknown.OwnerAnnotation && after.GetAnnotations()[k] != v {
				t.Fatalf("%s was %q and is %q", k, v, after.GetAnnotations()[k])
			}
		}
		if diff := cmp.Diff(late.GetFinalizers(), after.GetFinalizers()); diff != "" {
			t.Fatalf("finalizers:\n%s", diff)
		}
		for _, field := range []string{"clusterIP", "healthCheckNodePort"} {
			was, _, _ := unstructured.NestedFieldNoCopy(late.Object, "spec", field)
			is, _, _ := unstructured.NestedFieldNoCopy(after.Object, "spec", field)
			if was != nil && !same(was, is) {
				t.Fatalf("%s was %v and is %v", field, was, is)
			}
		}
		asked, _, _ := unstructured.NestedStringMap(in.Content.Template, "metadata", "annotations")
		for k, v := range asked {
			if in.Policy.Annotations.Matches(k) && late.GetAnnotations()[k] == fresh.GetAnnotations()[k] && after.GetAnnotations()[k] != v {
				t.Fatalf("%s is %q, want %q", k, after.GetAnnotations()[k], v)
			}
		}
		if owner.String() != after.GetAnnotations()[wellknown.OwnerAnnotation] {
			t.Fatal("without the owner mark")
		}
		if in.Observed = after; cmp.Equal(fresh.Object, late.Object) {
			if ops := rebased(t, in, after); len(ops) != 0 {
				raw, _ := json.Marshal(ops)
				t.Fatalf("not as asked afterwards: %s", raw)
			}
		}
	})
}

var fuzzKeys = []string{"lb/port", "lb/a~b", "lb/x", "status/ip", "status/step", "plain", wellknown.OwnerAnnotation, "kubectl.kubernetes.io/last-applied-configuration"}

func randomTemplate(r *rand.Rand) map[string]any {
	annotations, labels := map[string]any{}, map[string]any{}
	for range r.IntN(5) {
		annotations[fuzzKeys[r.IntN(len(fuzzKeys))]] = fmt.Sprint(r.IntN(3))
		labels[strings.ReplaceAll(fuzzKeys[r.IntN(6)], "~", "-")] = fmt.Sprint(r.IntN(3))
	}
	return map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": labels}, "spec": randomSpec(r)}
}

func randomSpec(r *rand.Rand) map[string]any {
	spec := map[string]any{}
	for range r.IntN(6) {
		switch r.IntN(6) {
		case 0:
			spec["type"] = fmt.Sprint(r.IntN(3))
		case 1:
			spec["clusterIP"] = fmt.Sprint("10.0.0.", r.IntN(3))
		case 2:
			ports := []any{}
			for i := range r.IntN(3) {
				port := map[string]any{"name": fmt.Sprint(i), "port": int64(r.IntN(2))}
				if r.IntN(2) == 0 {
					port["nodePort"] = int64(30000 + r.IntN(3))
				}
				ports = append(ports, port)
			}
			spec["ports"] = ports
		case 3:
			spec["selector"] = map[string]any{fmt.Sprint(r.IntN(3)): "x", "y": fmt.Sprint(r.IntN(2))}
		case 4:
			spec["healthCheckNodePort"] = int64(r.IntN(3))
		case 5:
			spec["nothing"] = []any{nil, float64(r.IntN(2)), map[string]any{}, ""}[r.IntN(4)]
		}
	}
	return spec
}

func randomCopy(r *rand.Rand) *unstructured.Unstructured {
	u := memberObject(nil)
	u.Object["spec"] = randomSpec(r)
	meddle(r, u, 4)
	u.SetUID("uid-1")
	u.SetDeletionTimestamp(nil)
	l := u.GetLabels()
	l[wellknown.ManagedLabel] = "true"
	u.SetLabels(l)
	return u
}

// meddle does what anybody in the member may do.
func meddle(r *rand.Rand, u *unstructured.Unstructured, times int) {
	for range times {
		a, l := u.GetAnnotations(), u.GetLabels()
		key := fuzzKeys[r.IntN(len(fuzzKeys))]
		switch r.IntN(8) {
		case 0, 1, 2:
			if key != wellknown.OwnerAnnotation || r.IntN(20) == 0 {
				a[key] = fmt.Sprint(r.IntN(9))
			}
		case 3:
			if key != wellknown.OwnerAnnotation || r.IntN(20) == 0 {
				delete(a, key)
			}
		case 4:
			l[fmt.Sprint("l", r.IntN(3))] = fmt.Sprint(r.IntN(3))
			if r.IntN(10) == 0 {
				l[wellknown.ManagedLabel] = "false"
			}
		case 5:
			u.SetFinalizers([]string{fmt.Sprint("f/", r.IntN(3))})
		case 6:
			u.Object["spec"] = randomSpec(r)
		case 7:
			if r.IntN(10) == 0 {
				u.SetUID("uid-2")
			}
		}
		u.SetAnnotations(a)
		u.SetLabels(l)
	}
}
