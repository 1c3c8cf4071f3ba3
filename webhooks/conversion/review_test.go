package conversion_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/test/conversion/objects"
	"github.com/cellfed/cellfed/webhooks/conversion"
)

const (
	inClusterForm  = `{"apiVersion":"types.kubefed.io/v1beta1","kind":"FederatedConfigMap","metadata":{"name":"a","namespace":"acme"},"spec":{"topologyType":"cell","placement":{"clusters":[{"name":"x.acme.cell"}]}}}`
	inTopologyForm = `{"apiVersion":"types.kubefed.io/v2beta1","kind":"FederatedConfigMap","metadata":{"name":"a","namespace":"acme"},"spec":{"topologyType":"cell","placement":{"topologies":[{"name":"x"}]}}}`
	clusterForm    = "types.kubefed.io/v1beta1"
	topologyForm   = "types.kubefed.io/v2beta1"
)

func reviewOf(desired string, raws ...string) *apiextensionsv1.ConversionReview {
	request := &apiextensionsv1.ConversionRequest{UID: "u-1", DesiredAPIVersion: desired}
	for _, r := range raws {
		request.Objects = append(request.Objects, runtime.RawExtension{Raw: []byte(r)})
	}
	return &apiextensionsv1.ConversionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "ConversionReview"}, Request: request,
	}
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask sends a review both ways: to the function, and to the handler by HTTP. They must agree.
func ask(t *testing.T, review *apiextensionsv1.ConversionReview) *apiextensionsv1.ConversionResponse {
	t.Helper()
	direct := conversion.Review(review)
	recorder := httptest.NewRecorder()
	conversion.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, conversion.Path, bytes.NewReader(encoded(t, review))))
	if recorder.Code != http.StatusOK {
		t.Fatalf("the handler answers %d: %s", recorder.Code, recorder.Body)
	}
	answer := &apiextensionsv1.ConversionReview{}
	if err := json.Unmarshal(recorder.Body.Bytes(), answer); err != nil {
		t.Fatalf("the handler's answer cannot be read: %v\n%s", err, recorder.Body)
	}
	if answer.APIVersion != "apiextensions.k8s.io/v1" || answer.Kind != "ConversionReview" || answer.Response == nil {
		t.Fatalf("the handler's answer is no review: %s", recorder.Body)
	}
	if direct.UID != answer.Response.UID || direct.Result != resultOf(answer) || len(direct.ConvertedObjects) != len(answer.Response.ConvertedObjects) {
		t.Fatalf("the function says %+v, the handler %+v", direct, answer.Response)
	}
	for i := range direct.ConvertedObjects {
		if !equalJSON(t, direct.ConvertedObjects[i].Raw, answer.Response.ConvertedObjects[i].Raw) {
			t.Fatalf("object %d: the function says %s, the handler %s", i, direct.ConvertedObjects[i].Raw, answer.Response.ConvertedObjects[i].Raw)
		}
	}
	return direct
}

func resultOf(review *apiextensionsv1.ConversionReview) metav1.Status { return review.Response.Result }

func equalJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return reflect.DeepEqual(x, y)
}

func TestAReviewConverts(t *testing.T) {
	for name, tc := range map[string]struct {
		desired  string
		in, want []string
	}{
		"to topology form":                  {topologyForm, []string{inClusterForm}, []string{inTopologyForm}},
		"to cluster form":                   {clusterForm, []string{inTopologyForm}, []string{inClusterForm}},
		"several objects, in their order":   {topologyForm, []string{inTopologyForm, inClusterForm}, []string{inTopologyForm, inTopologyForm}},
		"nothing when nothing is asked for": {topologyForm, nil, nil},
		"an object of metadata only":        {topologyForm, []string{`{"apiVersion":"types.kubefed.io/v1beta1"}`}, []string{`{"apiVersion":"types.kubefed.io/v2beta1"}`}},
		"an object with junk in every place": {topologyForm,
			[]string{`{"apiVersion":"types.kubefed.io/v1beta1","metadata":[],"spec":{"placement":7,"placementMask":[],"overrides":{},"topologyType":null},"status":"x"}`},
			[]string{`{"apiVersion":"types.kubefed.io/v2beta1","metadata":[],"spec":{"placement":7,"placementMask":[],"overrides":{},"topologyType":null},"status":"x"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			response := ask(t, reviewOf(tc.desired, tc.in...))
			if response.Result.Status != metav1.StatusSuccess || response.UID != "u-1" {
				t.Fatalf("the answer is %+v", response)
			}
			if len(response.ConvertedObjects) != len(tc.want) {
				t.Fatalf("%d objects came back", len(response.ConvertedObjects))
			}
			for i, want := range tc.want {
				if !equalJSON(t, []byte(want), response.ConvertedObjects[i].Raw) {
					t.Errorf("object %d is %s\nwant %s", i, response.ConvertedObjects[i].Raw, want)
				}
			}
		})
	}
}

func TestAReviewSaysWhyItCannotConvert(t *testing.T) {
	for name, tc := range map[string]struct{ desired, object, want string }{
		"an unknown desired version": {"types.kubefed.io/v3", inClusterForm, `to "types.kubefed.io/v3"`},
		"an unknown version":         {topologyForm, `{"apiVersion":"types.kubefed.io/v9"}`, `from "types.kubefed.io/v9"`},
		"another group":              {"other.io/v2beta1", inClusterForm, "of one group"},
		"an object with no version":  {topologyForm, `{}`, `from ""`},
		"what is no object":          {topologyForm, `[]`, "it is no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			response := ask(t, reviewOf(tc.desired, tc.object))
			if response.Result.Status != metav1.StatusFailure || !strings.Contains(response.Result.Message, tc.want) ||
				!strings.HasPrefix(response.Result.Message, "converting object ") || response.UID != "u-1" {
				t.Errorf("the answer is %+v", response)
			}
		})
	}
}

func TestAReviewWithoutARequestIsAFailure(t *testing.T) {
	for name, review := range map[string]*apiextensionsv1.ConversionReview{"none": nil, "an empty one": {}} {
		if response := conversion.Review(review); response.Result.Status != metav1.StatusFailure {
			t.Errorf("%s: %+v", name, response)
		}
	}
}

func TestAReviewOfBytesThatAreNoJSONIsAFailure(t *testing.T) {
	for _, bad := range []string{"", "{", `{"apiVersion":"types.kubefed.io/v1beta1",}`, "\x00"} {
		response := conversion.Review(reviewOf(topologyForm, bad))
		if response.Result.Status != metav1.StatusFailure || !strings.Contains(response.Result.Message, "reading the object") {
			t.Errorf("%q: %+v", bad, response.Result)
		}
	}
}

func TestAReviewIsNotChangedByItsAnswer(t *testing.T) {
	review := reviewOf(topologyForm, inClusterForm)
	before := string(encoded(t, review))
	conversion.Review(review)
	if after := string(encoded(t, review)); after != before {
		t.Errorf("it was %s\nit is %s", before, after)
	}
}

func TestTheHandlerRefuses(t *testing.T) {
	good := string(encoded(t, reviewOf(topologyForm, inClusterForm)))
	for name, tc := range map[string]struct {
		method, body string
		code         int
		want         string
	}{
		"a GET":                       {http.MethodGet, "", http.StatusMethodNotAllowed, "POST a ConversionReview"},
		"no body":                     {http.MethodPost, "", http.StatusBadRequest, "unexpected end of JSON"},
		"half a body":                 {http.MethodPost, good[:len(good)/2], http.StatusBadRequest, "unexpected end of JSON"},
		"a list":                      {http.MethodPost, "[]", http.StatusBadRequest, "not a ConversionReview"},
		"another kind":                {http.MethodPost, strings.Replace(good, "ConversionReview", "AdmissionReview", 1), http.StatusBadRequest, "not a ConversionReview"},
		"another version":             {http.MethodPost, strings.Replace(good, "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1", 1), http.StatusBadRequest, "not a ConversionReview"},
		"a review without a request":  {http.MethodPost, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview"}`, http.StatusBadRequest, "holds no request"},
		"a request without a version": {http.MethodPost, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{}}`, http.StatusBadRequest, "desired version"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			conversion.Handler().ServeHTTP(recorder, httptest.NewRequest(tc.method, conversion.Path, strings.NewReader(tc.body)))
			if recorder.Code != tc.code || !strings.Contains(recorder.Body.String(), tc.want) {
				t.Errorf("it answers %d: %s", recorder.Code, recorder.Body)
			}
		})
	}
}

func TestTheHandlerRefusesABodyThatIsTooLarge(t *testing.T) {
	recorder := httptest.NewRecorder()
	endless := httptest.NewRequest(http.MethodPost, conversion.Path, io.LimitReader(zeros{}, conversion.MaxBody+1))
	conversion.Handler().ServeHTTP(recorder, endless)
	if recorder.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("it answers %d: %s", recorder.Code, recorder.Body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkAReviewOfA64UnitObject(b *testing.B) {
	for name, tc := range map[string]struct {
		form    objects.Form
		desired string
	}{"to topology form": {objects.Cluster, topologyForm}, "to cluster form": {objects.Topology, clusterForm}} {
		obj := objects.Units(64, tc.form)
		law := map[string]func(map[string]any) map[string]any{topologyForm: topology.ToTopologyForm, clusterForm: topology.ToClusterForm}[tc.desired]
		b.Run(name+", the law alone", func(b *testing.B) {
			timed(b, func() { law(obj) })
		})
		review := reviewOf(tc.desired, string(encoded(b, obj)))
		body := encoded(b, review)
		b.Run(name+", the function", func(b *testing.B) {
			timed(b, func() { conversion.Review(review) })
		})
		b.Run(name+", from bytes to bytes", func(b *testing.B) {
			timed(b, func() { _, _ = conversion.ReviewJSON(body) })
		})
	}
}
