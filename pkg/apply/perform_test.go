package apply

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/plan"
)

var deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}

const webPath = "/apis/apps/v1/namespaces/acme/deployments/web"

func web(edit ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{
			"name": "web", "namespace": "acme",
			"labels":      map[string]any{wellknown.ManagedLabel: "true", "app": "web"},
			"annotations": map[string]any{wellknown.OwnerAnnotation: "{}", "theirs": "stays"},
		},
		"spec": map[string]any{"replicas": int64(2)},
	}}
	for _, e := range edit {
		e(u)
	}
	return u
}

func finalized(u *unstructured.Unstructured) { u.SetFinalizers([]string{"example.com/slow"}) }

func step(action plan.Action, object, observed *unstructured.Unstructured) *plan.Step {
	return &plan.Step{Unit: "rz00a", Member: "m1", Namespace: "acme", Name: "web", Action: action, Revision: "r1", Object: object, Observed: observed}
}

// scene is one call of a step: what was seen when it was planned, what happened since, and what is told of the answer.
type scene struct {
	there  func(*fakeMember) *unstructured.Unstructured
	since  func(*fakeMember)
	action plan.Action
	want   plan.Outcome
	code   string
	check  func(*testing.T, stage, plan.Result)
}

type stage struct {
	f     *fakeMember
	there *unstructured.Unstructured
}

func seen(edit ...func(*unstructured.Unstructured)) func(*fakeMember) *unstructured.Unstructured {
	return func(f *fakeMember) *unstructured.Unstructured { return f.put(webPath, web(edit...).Object) }
}

func nothing(*fakeMember) *unstructured.Unstructured { return nil }

func play(t *testing.T, scenes map[string]scene) {
	t.Helper()
	for name, tc := range scenes {
		t.Run(name, func(t *testing.T) {
			f := newFakeMember(t, "m1")
			there := tc.there(f)
			if tc.since != nil {
				tc.since(f)
			}
			object := web()
			if there != nil {
				object.SetResourceVersion(there.GetResourceVersion())
			}
			r := perform(t.Context(), deployments, step(tc.action, object, there), f)
			if r.Outcome != tc.want || r.Why.Code != tc.code {
				t.Fatalf("outcome %q, %+v; want %q, code %q", r.Outcome, r.Why, tc.want, tc.code)
			}
			if (r.Outcome == plan.Done || r.Outcome == plan.Found) && r.Object == nil {
				t.Error("without the object")
			}
			if tc.check != nil {
				tc.check(t, stage{f, there}, r)
			}
		})
	}
}

func TestCreations(t *testing.T) {
	play(t, map[string]scene{
		"a creation is confirmed with what the member made of it": {there: nothing, action: plan.Create, want: plan.Done,
			check: func(t *testing.T, w stage, r plan.Result) {
				if r.Object.GetUID() == "" || r.Object.GetManagedFields() != nil || w.f.get(webPath) == nil {
					t.Errorf("%v", r.Object)
				}
			}},
		"a creation makes the namespace if it is not there": {there: nothing, action: plan.Create, want: plan.Done,
			since: func(f *fakeMember) { delete(f.objects, "/api/v1/namespaces/acme") },
			check: func(t *testing.T, w stage, _ plan.Result) {
				want := []string{"POST /apis/apps/v1/namespaces/acme/deployments", "POST /api/v1/namespaces", "POST /apis/apps/v1/namespaces/acme/deployments"}
				if diff := cmp.Diff(want, w.f.heard()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			}},
		"a namespace that somebody else makes first is as good": {there: nothing, action: plan.Create, want: plan.Done,
			since: func(f *fakeMember) {
				delete(f.objects, "/api/v1/namespaces/acme")
				f.before = func(method, path string) {
					if method == http.MethodPost && path == "/api/v1/namespaces" {
						f.put("/api/v1/namespaces/acme", map[string]any{"metadata": map[string]any{"name": "acme"}})
					}
				}
			}},
		"a namespace that may not be made fails the unit and says so": {there: nothing, action: plan.Create, want: plan.Failed, code: plan.CodeCreationFailed,
			since: func(f *fakeMember) {
				delete(f.objects, "/api/v1/namespaces/acme")
				f.answer = func(w http.ResponseWriter, _ string) bool {
					if count(f.heard(), "POST /api/v1/namespaces") == 0 {
						return false
					}
					refuse(w, 403, metav1.StatusReasonForbidden, "no new namespaces here")
					return true
				}
			},
			check: func(t *testing.T, _ stage, r plan.Result) {
				if !strings.Contains(r.Why.Message, "making namespace acme") || !strings.Contains(r.Why.Message, "no new namespaces here") {
					t.Errorf("%q", r.Why.Message)
				}
			}},
		"something of that name is found, and not touched": {there: nothing, action: plan.Create, want: plan.Found,
			since: func(f *fakeMember) { f.put(webPath, web().Object) },
			check: func(t *testing.T, w stage, r plan.Result) {
				if r.Object.GetUID() != w.f.get(webPath).GetUID() || count(w.f.heard(), "PUT") > 0 {
					t.Errorf("%v", r.Object)
				}
			}},
		"found and gone again is stale, and counted": {there: nothing, action: plan.Create, want: plan.Stale, code: plan.CodeCreationFailed,
			since: func(f *fakeMember) {
				f.put(webPath, web().Object)
				f.before = func(method, _ string) {
					if method == http.MethodGet {
						f.mu.Lock()
						delete(f.objects, webPath)
						f.mu.Unlock()
					}
				}
			}},
	})
}

func TestUpdates(t *testing.T) {
	play(t, map[string]scene{
		"an update is confirmed": {there: seen(), action: plan.Update, want: plan.Done,
			check: func(t *testing.T, w stage, r plan.Result) {
				if r.Object.GetUID() != w.there.GetUID() || r.Object.GetResourceVersion() == w.there.GetResourceVersion() {
					t.Errorf("%v", r.Object)
				}
			}},
		"an update of what changed meanwhile writes nothing": {there: seen(), action: plan.Update, want: plan.Found, code: plan.CodeUpdateFailed,
			since: func(f *fakeMember) {
				f.put(webPath, web(func(u *unstructured.Unstructured) { u.SetUID("uid-2"); u.Object["spec"] = "theirs" }).Object)
			},
			check: func(t *testing.T, w stage, r plan.Result) {
				if w.f.get(webPath).Object["spec"] != "theirs" || r.Object.Object["spec"] != "theirs" {
					t.Errorf("%v", r.Object)
				}
			}},
		"an update of what is gone is stale": {there: seen(), action: plan.Update, want: plan.Stale, code: plan.CodeUpdateFailed, since: func(f *fakeMember) { delete(f.objects, webPath) }},
		"an update that is refused fails": {there: seen(), action: plan.Update, want: plan.Failed, code: plan.CodeUpdateFailed,
			since: func(f *fakeMember) {
				f.answer = func(w http.ResponseWriter, _ string) bool {
					refuse(w, 422, metav1.StatusReasonInvalid, "spec.selector is immutable")
					return true
				}
			},
			check: func(t *testing.T, _ stage, r plan.Result) {
				if r.Why.Message != "member m1: spec.selector is immutable" {
					t.Errorf("%q", r.Why.Message)
				}
			}},
	})
}

func TestDeletions(t *testing.T) {
	play(t, map[string]scene{
		"a deletion that succeeds at once is gone": {there: seen(), action: plan.Delete, want: plan.Gone,
			check: func(t *testing.T, w stage, _ plan.Result) {
				if w.f.get(webPath) != nil {
					t.Error("it is still there")
				}
			}},
		"a deletion that a finalizer delays is under way": {there: seen(finalized), action: plan.Delete, want: plan.Done,
			check: func(t *testing.T, w stage, r plan.Result) {
				if r.Object.GetDeletionTimestamp() == nil || r.Object.GetManagedFields() != nil {
					t.Errorf("%v", r.Object)
				}
				if r.Object.GetGeneration() != w.f.get(webPath).GetGeneration() {
					t.Errorf("generation %v is not the member's %v: numbers were garbled", r.Object.GetGeneration(), w.f.get(webPath).GetGeneration())
				}
			}},
		"a deletion of what is gone is gone": {there: seen(), action: plan.Delete, want: plan.Gone, since: func(f *fakeMember) { delete(f.objects, webPath) }},
		"a deletion never takes what was made anew under the name": {there: seen(), action: plan.Delete, want: plan.Stale, code: plan.CodeDeletionFailed,
			since: func(f *fakeMember) { delete(f.objects, webPath); f.put(webPath, web().Object) },
			check: func(t *testing.T, w stage, _ plan.Result) {
				if w.f.get(webPath) == nil {
					t.Error("another's object was deleted")
				}
			}},
		"a deletion that answers with the object it removed is asked again": {there: seen(), action: plan.Delete, want: plan.Stale,
			since: func(f *fakeMember) {
				f.answer = func(w http.ResponseWriter, _ string) bool { reply(w, 200, f.get(webPath).Object); return true }
			}},
		"a deletion whose answer nobody understands has failed": {there: seen(), action: plan.Delete, want: plan.Failed, code: plan.CodeDeletionFailed,
			since: func(f *fakeMember) {
				f.answer = func(w http.ResponseWriter, _ string) bool {
					_, _ = w.Write([]byte("<html>"))
					return true
				}
			}},
		"a deletion that is refused fails": {there: seen(), action: plan.Delete, want: plan.Failed, code: plan.CodeDeletionFailed,
			since: func(f *fakeMember) {
				f.answer = func(w http.ResponseWriter, _ string) bool {
					refuse(w, 403, metav1.StatusReasonForbidden, "no")
					return true
				}
			}},
	})
}

// unmarked is a copy whose owner mark somebody cut off.
func unmarked(f *fakeMember) *unstructured.Unstructured {
	u := seen()(f)
	u.SetAnnotations(nil)
	f.put(webPath, u.Object)
	return f.get(webPath)
}

func TestOrphansAndQuestions(t *testing.T) {
	play(t, map[string]scene{
		"an orphan loses the plane's marks and nothing else": {there: seen(), action: plan.Orphan, want: plan.Gone,
			check: func(t *testing.T, w stage, _ plan.Result) {
				left := w.f.get(webPath)
				if diff := cmp.Diff(map[string]string{"app": "web"}, left.GetLabels()); diff != "" {
					t.Errorf("labels (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(map[string]string{"theirs": "stays"}, left.GetAnnotations()); diff != "" {
					t.Errorf("annotations (-want +got):\n%s", diff)
				}
			}},
		"an orphan that was made anew keeps its marks": {there: seen(), action: plan.Orphan, want: plan.Stale, code: plan.CodeLabelRemovalFailed,
			since: func(f *fakeMember) { delete(f.objects, webPath); f.put(webPath, web().Object) },
			check: func(t *testing.T, w stage, _ plan.Result) {
				if w.f.get(webPath).GetLabels()[wellknown.ManagedLabel] != "true" {
					t.Error("another's marks were taken")
				}
			}},
		"an orphan that another plane has marked meanwhile keeps that mark": {there: seen(), action: plan.Orphan, want: plan.Stale, code: plan.CodeLabelRemovalFailed,
			since: func(f *fakeMember) {
				theirs := f.get(webPath).DeepCopy()
				theirs.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: `{"plane":"another","uid":"theirs"}`})
				f.put(webPath, theirs.Object)
			},
			check: func(t *testing.T, w stage, _ plan.Result) {
				if left := w.f.get(webPath); left.GetAnnotations()[wellknown.OwnerAnnotation] == "" || left.GetLabels()[wellknown.ManagedLabel] != "true" {
					t.Errorf("another's marks were taken: %v %v", left.GetLabels(), left.GetAnnotations())
				}
			}},
		"an orphan without an owner mark that another plane has marked meanwhile stays that plane's": {
			there: unmarked, action: plan.Orphan, want: plan.Stale, code: plan.CodeLabelRemovalFailed,
			since: func(f *fakeMember) {
				theirs := f.get(webPath).DeepCopy()
				theirs.SetAnnotations(map[string]string{wellknown.OwnerAnnotation: `{"plane":"another","uid":"theirs"}`})
				f.put(webPath, theirs.Object)
			},
			check: func(t *testing.T, w stage, _ plan.Result) {
				if w.f.get(webPath).GetLabels()[wellknown.ManagedLabel] != "true" {
					t.Error("another's label was taken")
				}
			}},
		"an orphan without an owner mark loses its label": {
			there: unmarked, action: plan.Orphan, want: plan.Gone},
		"an orphan that the member does not let go is told with its reason": {there: seen(), action: plan.Orphan, want: plan.Stale, code: plan.CodeLabelRemovalFailed,
			since: func(f *fakeMember) {
				f.answer = func(w http.ResponseWriter, _ string) bool {
					refuse(w, 422, metav1.StatusReasonInvalid, "the label stays")
					return true
				}
			},
			check: func(t *testing.T, _ stage, r plan.Result) {
				if r.Why.Code != plan.CodeLabelRemovalFailed || !strings.Contains(r.Why.Message, "the label stays") {
					t.Errorf("without a reason it would be tried again and again: %+v", r.Why)
				}
			}},
		"an orphan that is gone is gone":  {there: seen(), action: plan.Orphan, want: plan.Gone, since: func(f *fakeMember) { delete(f.objects, webPath) }},
		"what is asked for and there":     {there: seen(), action: plan.Confirm, want: plan.Found},
		"what is asked for and not there": {there: nothing, action: plan.Confirm, want: plan.Gone},
		"what may not be asked is not gone": {there: nothing, action: plan.Confirm, want: plan.Failed, code: plan.CodeRetrievalFailed,
			since: func(f *fakeMember) {
				f.answer = func(w http.ResponseWriter, _ string) bool {
					refuse(w, 403, metav1.StatusReasonForbidden, "no")
					return true
				}
			}},
		"a step that is no call fails": {there: nothing, action: plan.Hold, want: plan.Failed, code: plan.CodeComputeResourceFailed},
	})
}

func TestPathsOfKindsInEveryGroupAndScope(t *testing.T) {
	core := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	roles := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	for want, got := range map[string][]string{
		"/api/v1/namespaces/acme/configmaps/web":              path(core, "acme", "web"),
		"/apis/apps/v1/namespaces/acme/deployments/web":       path(deployments, "acme", "web"),
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/web": path(roles, "", "web"),
	} {
		if strings.Join(got, "/") != want {
			t.Errorf("%s, want %s", strings.Join(got, "/"), want)
		}
	}
}

func TestACallThatIsNotAnsweredInTimeSaysSo(t *testing.T) {
	for action, code := range map[plan.Action]string{
		plan.Create: plan.CodeCreationTimedOut, plan.Update: plan.CodeUpdateTimedOut, plan.Delete: plan.CodeDeletionTimedOut,
		plan.Orphan: plan.CodeLabelRemovalTimedOut,
	} {
		t.Run(string(action), func(t *testing.T) {
			f := newFakeMember(t, "m1")
			there := f.put(webPath, web().Object)
			f.freeze()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if r := perform(ctx, deployments, step(action, web(), there), f); r.Outcome != plan.Failed || r.Why.Code != code {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestLongMessagesAreCutBetweenCharacters(t *testing.T) {
	f := newFakeMember(t, "m1")
	for _, words := range []string{strings.Repeat("x", 4000), strings.Repeat("长", 2000), "x" + strings.Repeat("长", 2000)} {
		f.answer = func(w http.ResponseWriter, _ string) bool {
			refuse(w, 403, metav1.StatusReasonForbidden, words)
			return true
		}
		r := perform(t.Context(), deployments, step(plan.Create, web(), nil), f)
		if len(r.Why.Message) > 1100 || !utf8.ValidString(r.Why.Message) {
			t.Errorf("%d bytes, valid %t", len(r.Why.Message), utf8.ValidString(r.Why.Message))
		}
	}
}
