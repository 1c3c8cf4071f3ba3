package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

// toys is a type of one version. If the plane converts it, then only in name: there is no other version.
func toys(kind string, convertedHere bool) *apiextensionsv1.CustomResourceDefinition {
	crd := widgetCRD()
	plural := strings.ToLower(kind) + "s"
	crd.Name = plural + "." + group
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind}
	crd.Spec.Versions = crd.Spec.Versions[:1]
	crd.Spec.Versions[0].Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
	root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	root.Properties["status"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"seen": {Type: "integer"}}}
	root.Properties["spec"].Properties["mask"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	if !convertedHere {
		crd.Spec.Conversion = nil
	}
	return crd
}

// asked is what the server of custom resources gets to see.
type asked struct {
	genericapiserver.DelegationTarget
	query string
}

func (a *asked) UnprotectedHandler() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { a.query = r.URL.RawQuery })
}

func TestWritesOfClosedTypesAreAskedForStrictly(t *testing.T) {
	byName := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	marked := toys("Marked", false)
	marked.Labels = map[string]string{"closed": "yes"}
	for _, crd := range []*apiextensionsv1.CustomResourceDefinition{toys("Shipped", false), toys("Converted", true), toys("Open", false), marked} {
		if err := byName.Add(crd); err != nil {
			t.Fatal(err)
		}
	}
	seen := &asked{}
	handler := strictFields{
		DelegationTarget: seen,
		crds:             apiextensionslisters.NewCustomResourceDefinitionLister(byName),
		closed: closedTypes(Config{
			CRDs:   []*apiextensionsv1.CustomResourceDefinition{toys("Shipped", false)},
			Closed: func(crd *apiextensionsv1.CustomResourceDefinition) bool { return crd.Labels["closed"] == "yes" },
		}),
	}.UnprotectedHandler()

	const strict = "fieldValidation=Strict"
	for name, tt := range map[string]struct {
		verb, resource, subresource, query, want string
	}{
		"nothing is asked for":               {"create", "converteds", "", "", strict},
		"an update":                          {"update", "converteds", "", "", strict},
		"a patch":                            {"patch", "converteds", "", "", strict},
		"Ignore is asked for":                {"create", "converteds", "", "fieldValidation=Ignore", strict},
		"Warn, and then Strict":              {"create", "converteds", "", "fieldValidation=Warn&fieldValidation=Strict", strict},
		"something that there is not":        {"create", "converteds", "", "fieldValidation=Lenient", strict},
		"other options stay":                 {"patch", "converteds", "", "force=true&dryRun=All&fieldManager=a%20b", "dryRun=All&fieldManager=a+b&" + strict + "&force=true"},
		"a type that the plane comes with":   {"create", "shippeds", "", "", strict},
		"a type that the configuration says": {"create", "markeds", "", "", strict},
		"a type that is not known yet":       {"create", "unheardofs", "", "", strict},
		"another's type":                     {"create", "opens", "", "fieldValidation=Ignore", "fieldValidation=Ignore"},
		"a status":                           {"update", "converteds", "status", "", ""},
		"a read":                             {"get", "converteds", "", "pretty=true", "pretty=true"},
		"a deletion":                         {"delete", "converteds", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodPost, "/somewhere?"+tt.query, nil)
			req = req.WithContext(apirequest.WithRequestInfo(req.Context(), &apirequest.RequestInfo{
				IsResourceRequest: true, Verb: tt.verb, APIGroup: group, Resource: tt.resource, Subresource: tt.subresource,
			}))
			handler.ServeHTTP(httptest.NewRecorder(), req)
			if seen.query != tt.want {
				t.Errorf("the server is asked for %q, want %q", seen.query, tt.want)
			}
			if req.URL.RawQuery != tt.query {
				t.Errorf("the request itself was changed to %q: others hold it", req.URL.RawQuery)
			}
		})
	}
	t.Run("what is no request for a resource", func(t *testing.T) {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/apis?a=b", nil))
		if seen.query != "a=b" {
			t.Errorf("the server is asked for %q", seen.query)
		}
	})
}

// testStrictFields narrows the schema of a stored object, so that it holds a field that nobody knows any more.
func testStrictFields(t *testing.T, config *rest.Config, client dynamic.Interface) {
	ctx := t.Context()
	definitions, err := apiextensionsclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range []*apiextensionsv1.CustomResourceDefinition{toys("Closed", true), toys("Open", false)} {
		if err := installCRD(ctx, definitions, crd); err != nil {
			t.Fatal(err)
		}
	}
	of := func(plural string) dynamic.ResourceInterface {
		return client.Resource(schema.GroupVersionResource{Group: group, Version: "a", Resource: plural}).Namespace("default")
	}
	toy := func(kind, field string) *unstructured.Unstructured {
		u := widget("a", "toy", "width", 1)
		u.SetKind(kind)
		u.Object["spec"].(map[string]any)[field] = "x"
		return u
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "spec.maks") {
			t.Errorf("%s with a mistyped field was met with %v", what, err)
		}
	}
	awaitServing(t, of("opens"))
	awaitServing(t, of("closeds"))
	if _, err := of("opens").Create(ctx, toy("Open", "maks"), metav1.CreateOptions{}); err != nil {
		t.Errorf("a type that is not the plane's is closed: %v", err)
	}
	_, err = of("closeds").Create(ctx, toy("Closed", "maks"), metav1.CreateOptions{FieldValidation: metav1.FieldValidationIgnore})
	refused("a create", err)
	stored, err := of("closeds").Create(ctx, toy("Closed", "mask"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	narrow := toys("Closed", true)
	delete(narrow.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties, "mask")
	if err := installCRD(ctx, definitions, narrow); err != nil {
		t.Fatal(err)
	}
	awaitRefusal(ctx, t, of("closeds"), stored)
	if err := unstructured.SetNestedField(stored.Object, int64(1), "status", "seen"); err != nil {
		t.Fatal(err)
	}
	if _, err := of("closeds").UpdateStatus(ctx, stored, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a status is refused because of what is stored: %v", err)
	}
	for _, finalizers := range []string{`["test.cellfed.io/a"]`, `[]`} {
		patch := fmt.Sprintf(`{"metadata":{"finalizers":%s}}`, finalizers)
		if _, err := of("closeds").Patch(ctx, "toy", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("finalizers %s are refused because of what is stored: %v", finalizers, err)
		}
	}
}

// awaitServing waits until a new type is served.
func awaitServing(t *testing.T, of dynamic.ResourceInterface) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err = of.List(t.Context(), metav1.ListOptions{}); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// awaitRefusal waits until the narrower schema is served, and so refuses what it was stored with.
func awaitRefusal(ctx context.Context, t *testing.T, of dynamic.ResourceInterface, stored *unstructured.Unstructured) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, err := of.Update(ctx, stored, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), `unknown field "spec.mask"`) {
			return
		}
	}
	t.Fatal("the narrower schema is never served")
}

// testEncodings sends a mistyped field in every encoding that an API server may know. What it does not know, CBOR today, it
// must not take for another one; what it knows it must read strictly.
func testEncodings(t *testing.T, config *rest.Config, client dynamic.Interface) {
	definitions, err := apiextensionsclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := installCRD(t.Context(), definitions, toys("Encoded", true)); err != nil {
		t.Fatal(err)
	}
	of := client.Resource(schema.GroupVersionResource{Group: group, Version: "a", Resource: "encodeds"}).Namespace("default")
	awaitServing(t, of)
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	toy := func(name, field string) map[string]any {
		u := widget("a", name, "width", 1)
		u.SetKind("Encoded")
		u.Object["spec"].(map[string]any)[field] = "x"
		return u.Object
	}
	send := func(method, path, mediaType, accept string, body []byte) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, config.Host+"/apis/"+group+"/a/namespaces/default/encodeds"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		req.Header.Set("Accept", accept)
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(answer)
	}
	for _, tt := range []struct {
		encoding, apply string
		encode          func(any) ([]byte, error)
		known           bool
	}{
		{"application/json", "", json.Marshal, true},
		{"application/yaml", "application/apply-patch+yaml", yaml.Marshal, true},
		{"application/cbor", "application/apply-patch+cbor", cbor.Marshal, false},
	} {
		name := strings.TrimPrefix(tt.encoding, "application/")
		body := func(field string) []byte {
			raw, err := tt.encode(toy(name, field))
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		judge := func(how string, code int, answer string) {
			t.Helper()
			switch {
			case code < 300:
				t.Errorf("%s in %s: a mistyped field was taken", how, name)
			case tt.known && !strings.Contains(answer, "spec.maks"):
				t.Errorf("%s in %s: refused, but not for the field: %d %s", how, name, code, answer)
			case !tt.known && code != http.StatusUnsupportedMediaType && !strings.Contains(answer, "spec.maks"):
				t.Errorf("%s in %s: refused, but neither for its encoding nor for the field: %d %s", how, name, code, answer)
			}
		}
		code, answer := send(http.MethodPost, "?fieldValidation=Ignore", tt.encoding, "application/json", body("maks"))
		judge("a create", code, answer)
		code, answer = send(http.MethodPut, "/"+name+"?fieldValidation=Ignore", tt.encoding, "application/json", body("maks"))
		judge("an update", code, answer)
		if tt.apply != "" {
			code, answer = send(http.MethodPatch, "/"+name+"?fieldManager=test&fieldValidation=Ignore", tt.apply, "application/json", body("maks"))
			judge("an apply", code, answer)
		}
		if _, err := of.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: something was stored: %v", name, err)
		}
		if code, answer := send(http.MethodPost, "", tt.encoding, "application/json", body("mask")); tt.known && code != http.StatusCreated {
			t.Errorf("%s: what is well was refused: %d %s", name, code, answer)
		}
	}
}
