package apply

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/render"
)

var webOwner = federated.Owner{Plane: "p", UID: "u", Unit: "rz00a", Revision: "r1"}

// ours is a copy that the plane made, of one replica.
func ours(u *unstructured.Unstructured) {
	u.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: webOwner.String(), "theirs": "0"})
	u.Object["spec"] = map[string]any{"replicas": int64(1)}
}

// updateOf is the step that brings a copy to two replicas, as a plan makes it.
func updateOf(t *testing.T, observed *unstructured.Unstructured) *plan.Step {
	t.Helper()
	in := render.Input{
		Target: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Name: "web", Namespace: "acme",
		Content: federated.Content{Template: map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
			"spec": map[string]any{"replicas": int64(2)}}},
		Owner: webOwner, Observed: observed,
	}
	desired, err := render.Desired(in)
	if err != nil {
		t.Fatal(err)
	}
	s := step(plan.Update, desired, observed)
	s.Render = &in
	return s
}

// meddles changes the copy before each call of a method, the first n times.
func meddles(f *fakeMember, method string, n int, change func(u *unstructured.Unstructured)) {
	f.before = func(m, path string) {
		if m != method || path != webPath || n == 0 {
			return
		}
		n--
		f.mu.Lock()
		defer f.mu.Unlock()
		u := (&unstructured.Unstructured{Object: f.objects[webPath]}).DeepCopy()
		change(u)
		f.store(webPath, u.Object)
	}
}

func reports(u *unstructured.Unstructured) {
	a := u.GetAnnotations()
	a["theirs"] += "1"
	u.SetAnnotations(a)
}

func TestAWriteThatOthersOvertakeGoesThroughAndLosesNothingOfTheirs(t *testing.T) {
	f := newFakeMember(t, "m1")
	s := updateOf(t, f.put(webPath, web(ours).Object))
	meddles(f, http.MethodPut, 1, reports)
	r := perform(t.Context(), deployments, s, f)
	if r.Outcome != plan.Done {
		t.Fatalf("%+v", r)
	}
	now := f.get(webPath)
	if n, _, _ := unstructured.NestedInt64(now.Object, "spec", "replicas"); n != 2 || now.GetAnnotations()["theirs"] != "01" {
		t.Errorf("%v", now.Object)
	}
	if r.Object.GetResourceVersion() != now.GetResourceVersion() || r.Object.GetManagedFields() != nil {
		t.Errorf("told of %v", r.Object)
	}
	if count(f.heard(), "PUT") != 1 || count(f.heard(), "PATCH") != 1 {
		t.Errorf("calls: %v", f.heard())
	}
}

func TestAPatchWhoseGroundIsGoneWritesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(u *unstructured.Unstructured)
		want   plan.Outcome
	}{
		"taken out of the plane's hands": {func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{wellknown.ManagedLabel: "false"}) }, plan.Found},
		"taken over by another plane": {func(u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: "{}"})
		}, plan.Found},
		"made anew": {func(u *unstructured.Unstructured) { u.SetUID("uid-2") }, plan.Found},
	} {
		for _, when := range []string{http.MethodPut, http.MethodPatch} {
			t.Run(name+" before the "+when, func(t *testing.T) {
				f := newFakeMember(t, "m1")
				s := updateOf(t, f.put(webPath, web(ours).Object))
				first := when == http.MethodPatch
				meddles(f, http.MethodPut, 1, reports)
				if before := f.before; first {
					f.before = func(m, path string) {
						if m == http.MethodPut {
							before(m, path)
						}
						if m == http.MethodPatch {
							f.mu.Lock()
							defer f.mu.Unlock()
							u := (&unstructured.Unstructured{Object: f.objects[webPath]}).DeepCopy()
							tc.change(u)
							f.store(webPath, u.Object)
						}
					}
				} else {
					meddles(f, http.MethodPut, 1, tc.change)
				}
				r := perform(t.Context(), deployments, s, f)
				if r.Outcome != tc.want || r.Why.Code != plan.CodeUpdateFailed {
					t.Errorf("%+v", r)
				}
				if n, _, _ := unstructured.NestedInt64(f.get(webPath).Object, "spec", "replicas"); n != 1 {
					t.Errorf("%d replicas were written", n)
				}
			})
		}
	}
}

func TestARepairThatIsNotNeededAnyMoreIsNotMade(t *testing.T) {
	f := newFakeMember(t, "m1")
	confirmed := f.put(webPath, web(ours).Object)
	s := updateOf(t, f.put(webPath, web(ours, func(u *unstructured.Unstructured) { u.Object["spec"] = map[string]any{"replicas": int64(5)} }).Object))
	s.Repairs = true
	s.Recorded, _ = s.Lens.Version(confirmed)
	meddles(f, http.MethodPut, 1, func(u *unstructured.Unstructured) { u.Object["spec"] = map[string]any{"replicas": int64(1)} })
	if r := perform(t.Context(), deployments, s, f); r.Outcome != plan.Found || count(f.heard(), "PATCH") != 0 {
		t.Errorf("%+v, %v", r, f.heard())
	}
}

func TestAWriteThatSomebodyElseMadeIsDone(t *testing.T) {
	f := newFakeMember(t, "m1")
	s := updateOf(t, f.put(webPath, web(ours).Object))
	meddles(f, http.MethodPut, 1, func(u *unstructured.Unstructured) { u.Object["spec"] = map[string]any{"replicas": int64(2)} })
	if r := perform(t.Context(), deployments, s, f); r.Outcome != plan.Done || r.Object == nil || count(f.heard(), "PATCH") != 0 {
		t.Errorf("%+v, %v", r, f.heard())
	}
}

func TestARefusedPatchSaysWhatTheMemberSays(t *testing.T) {
	f := newFakeMember(t, "m1")
	s := updateOf(t, f.put(webPath, web(ours).Object))
	meddles(f, http.MethodPut, 1, reports)
	f.answer = func(w http.ResponseWriter, method string) bool {
		if method != http.MethodPatch {
			return false
		}
		reply(w, 422, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": string(metav1.StatusReasonInvalid), "code": 422,
			"message": "spec.replicas: too many", "details": map[string]any{"causes": []any{map[string]any{"field": "spec.replicas", "reason": "FieldValueInvalid"}}}})
		return true
	}
	if r := perform(t.Context(), deployments, s, f); r.Outcome != plan.Failed || r.Why.Code != plan.CodeUpdateFailed || count(f.heard(), "PATCH") != 1 {
		t.Errorf("%+v, %v", r, f.heard())
	}
}

func TestACopyThatNeverStandsStillIsLeftToTheNextPlan(t *testing.T) {
	f := newFakeMember(t, "m1")
	s := updateOf(t, f.put(webPath, web(ours).Object))
	f.before = func(method, path string) {
		if path != webPath || method == http.MethodGet {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		u := (&unstructured.Unstructured{Object: f.objects[webPath]}).DeepCopy()
		if reports(u); method == http.MethodPatch {
			u.SetUID("another")
		}
		f.store(webPath, u.Object)
	}
	if r := perform(t.Context(), deployments, s, f); r.Outcome != plan.Found || count(f.heard(), "PATCH") != 1 {
		t.Errorf("%+v, %v", r, f.heard())
	}
}
