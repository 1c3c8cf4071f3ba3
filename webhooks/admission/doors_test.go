package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
)

// ask asks a handler over HTTPS on loopback.
func ask(t *testing.T, path string, req *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	server := httptest.NewTLSServer(newAdmitter(acme()).Handler())
	defer server.Close()
	review := &admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: req}
	answer, err := server.Client().Post(server.URL+path, "application/json", strings.NewReader(toJSON(t, review)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(answer.Body)
	out := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, out); err != nil || out.Response == nil || out.Kind != "AdmissionReview" || out.APIVersion != "admission.k8s.io/v1" {
		t.Fatalf("%s: %s (%v)", answer.Status, body, err)
	}
	if out.Response.UID != req.UID {
		t.Errorf("answered %q, asked %q", out.Response.UID, req.UID)
	}
	return out.Response
}

func reviewed(t *testing.T, op admissionv1.Operation, obj, old *unstructured.Unstructured) *admissionv1.AdmissionRequest {
	gvk := obj.GroupVersionKind()
	r := &admissionv1.AdmissionRequest{UID: "u1", Operation: op, Namespace: obj.GetNamespace(), Name: obj.GetName(),
		Kind: metav1.GroupVersionKind(gvk), Object: runtime.RawExtension{Raw: []byte(toJSON(t, obj.Object))}}
	if old != nil {
		r.OldObject = runtime.RawExtension{Raw: []byte(toJSON(t, old.Object))}
	}
	return r
}

func TestOverHTTPS(t *testing.T) {
	t.Run("a refusal names the field", func(t *testing.T) {
		got := ask(t, ValidatePath, reviewed(t, admissionv1.Create, inTopologyForm(t, `{"topologyType":"rack"}`), nil))
		if got.Allowed || got.Result.Code != http.StatusUnprocessableEntity || got.Result.Details.Causes[0].Field != "spec.topologyType" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("warnings come along", func(t *testing.T) {
		got := ask(t, ValidatePath, reviewed(t, admissionv1.Create, inTopologyForm(t, `{"placement":{"topologies":[{"name":"bj-1"}]}}`), nil))
		if !got.Allowed || len(got.Warnings) != 1 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the patch makes the object that the same decision in process makes", func(t *testing.T) {
		for name, obj := range map[string]*unstructured.Unstructured{
			"federated": inTopologyForm(t, `{"template":{"spec":{"replicas":3}}}`),
			"unit":      unitObject(t, `"name":"rz09x","labels":{"tenancy.cellfed.io/tenant":"rival","a/b~c":"d"}`, `{"cluster":"hz-1"}`),
			"type":      typeConfig(t, "secrets", `{"targetType":{"version":"v1","kind":"Secret","scope":"Namespaced"}}`),
		} {
			want := obj.DeepCopy()
			if err := newAdmitter(acme()).Mutate(context.Background(), requestFor(want, nil)); err != nil {
				t.Fatal(err)
			}
			got := ask(t, MutatePath, reviewed(t, admissionv1.Create, obj, nil))
			if !got.Allowed || got.PatchType == nil {
				t.Fatalf("%s: %+v", name, got)
			}
			patch, err := jsonpatch.DecodePatch(got.Patch)
			if err != nil {
				t.Fatal(err)
			}
			patched, err := patch.Apply([]byte(toJSON(t, obj.Object)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want.Object, parse(t, string(patched)).Object); d != "" {
				t.Errorf("%s:\n%s", name, d)
			}
		}
	})
	t.Run("nothing to set is no patch", func(t *testing.T) {
		old, obj := inTopologyForm(t, `{}`), inTopologyForm(t, `{"template":{}}`)
		if got := ask(t, MutatePath, reviewed(t, admissionv1.Update, obj, old)); !got.Allowed || got.Patch != nil {
			t.Errorf("%+v", got)
		}
	})
	t.Run("deletions go through", func(t *testing.T) {
		req := reviewed(t, admissionv1.Delete, inTopologyForm(t, `{"topologyType":"rack"}`), nil)
		for _, path := range []string{MutatePath, ValidatePath} {
			if got := ask(t, path, req); !got.Allowed {
				t.Errorf("%+v", got)
			}
		}
	})
	t.Run("what is no review is told so", func(t *testing.T) {
		server := httptest.NewTLSServer(newAdmitter(acme()).Handler())
		defer server.Close()
		for _, body := range []string{"", "{}", "[", `{"request":{"operation":"CREATE","object":[]}}`} {
			answer, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}).Post(server.URL+ValidatePath, "application/json", bytes.NewBufferString(body))
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK && strings.Contains(string(text), `"allowed":true`) {
				t.Errorf("%q was let in: %s", body, text)
			}
		}
	})
}

func TestAPatchSaysEveryChange(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"nothing":           {`{"a":{"b":[1]}}`, `{"a":{"b":[1]}}`},
		"keys with escapes": {`{"a":{"x/y~z":1,"~1":2}}`, `{"a":{"x/y~z":2,"/~0":[{}]}}`},
		"another type":      {`{"a":{"b":1}}`, `{"a":"b"}`},
		"a list":            {`{"a":[1,2]}`, `{"a":[2]}`},
		"null":              {`{"a":1,"b":null}`, `{"a":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			want := parse(t, c.after).Object
			ops := diff(parse(t, c.before).Object, want)
			if (len(ops) == 0) != (c.before == c.after) {
				t.Errorf("%v", ops)
			}
			patch, err := jsonpatch.DecodePatch([]byte(toJSON(t, ops)))
			if err != nil || len(ops) == 0 {
				return
			}
			got, err := patch.Apply([]byte(c.before))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, parse(t, string(got)).Object); d != "" {
				t.Error(d)
			}
		})
	}
}

// heard collects warnings.
type heard []string

func (h *heard) AddWarning(_, text string) { *h = append(*h, text) }

func TestInProcess(t *testing.T) {
	plugin := NewPlugin(newAdmitter(acme()))
	attributes := func(op admission.Operation, obj, old *unstructured.Unstructured, subresource string) admission.Attributes {
		var before runtime.Object
		if old != nil {
			before = old
		}
		gvk := obj.GroupVersionKind()
		return admission.NewAttributesRecord(obj, before, gvk, obj.GetNamespace(), obj.GetName(), gvk.GroupVersion().WithResource("x"), subresource, op, nil, false, nil)
	}
	t.Run("it completes and judges creations and updates, and nothing else", func(t *testing.T) {
		for op, want := range map[admission.Operation]bool{admission.Create: true, admission.Update: true, admission.Delete: false, admission.Connect: false} {
			if plugin.Handles(op) != want {
				t.Errorf("%s: %v", op, !want)
			}
		}
	})
	t.Run("an object is completed in place", func(t *testing.T) {
		obj := inTopologyForm(t, `{}`)
		if err := plugin.(admission.MutationInterface).Admit(context.Background(), attributes(admission.Create, obj, nil, ""), nil); err != nil {
			t.Fatal(err)
		}
		if len(obj.GetFinalizers()) != 1 {
			t.Error(obj.Object)
		}
	})
	t.Run("a bad one is refused, its status is not", func(t *testing.T) {
		obj := inTopologyForm(t, `{"topologyType":"rack"}`)
		err := plugin.(admission.ValidationInterface).Validate(context.Background(), attributes(admission.Create, obj, nil, ""), nil)
		wantFault(t, err, "spec.topologyType", "supported values")
		old := inTopologyForm(t, `{}`)
		if err := plugin.(admission.ValidationInterface).Validate(context.Background(), attributes(admission.Update, obj, old, "status"), nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("warnings reach the client", func(t *testing.T) {
		var got heard
		ctx := warning.WithWarningRecorder(context.Background(), &got)
		obj := inTopologyForm(t, `{"placement":{"topologies":[{"name":"bj-1"}]}}`)
		if err := plugin.(admission.ValidationInterface).Validate(ctx, attributes(admission.Create, obj, nil, ""), nil); err != nil || len(got) != 1 {
			t.Errorf("%v %v", got, err)
		}
	})
}
