package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const group = "test.cellfed.io"

// widgetCRD is a type whose version b calls "size" what version a calls "width".
func widgetCRD() *apiextensionsv1.CustomResourceDefinition {
	version := func(name, field string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: storage,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object",
				Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{field: {Type: "integer"}}},
				},
			}},
		}
	}
	path, port := ConversionServicePath, int32(ConversionServicePort)
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets." + group, Labels: map[string]string{"made-by": "test"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group:    group,
			Scope:    apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("a", "width", true), version("b", "size", false)},
			Conversion: &apiextensionsv1.CustomResourceConversion{
				Strategy: apiextensionsv1.WebhookConverter,
				Webhook: &apiextensionsv1.WebhookConversion{
					ConversionReviewVersions: []string{"v1"},
					ClientConfig: &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{
						Namespace: ConversionServiceNamespace, Name: ConversionServiceName, Path: &path, Port: &port,
					}},
				},
			},
		},
	}
}

func widgets(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: "widgets"}
}

func widget(version, name, field string, value int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/" + version, "kind": "Widget",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{field: value},
	}}
}

// convertWidgets renames the field, and has no answer for width 13.
func convertWidgets(_ context.Context, encoded []byte) ([]byte, error) {
	review := &apiextensionsv1.ConversionReview{}
	if err := json.Unmarshal(encoded, review); err != nil {
		return nil, err
	}
	from, to := "width", "size"
	if strings.HasSuffix(review.Request.DesiredAPIVersion, "/a") {
		from, to = to, from
	}
	response := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		object := map[string]any{}
		if err := json.Unmarshal(raw.Raw, &object); err != nil {
			return nil, err
		}
		object["apiVersion"] = review.Request.DesiredAPIVersion
		spec := object["spec"].(map[string]any)
		if spec[from] == float64(13) {
			return nil, errors.New("thirteen")
		}
		spec[to] = spec[from]
		delete(spec, from)
		converted, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Raw: converted})
	}
	review.Request, review.Response = nil, response
	return json.Marshal(review)
}

// warden labels widgets with the number of namespaces, which it asks the plane
// for, and refuses those called "bad".
type warden struct {
	*admission.Handler
	loopback *rest.Config
}

func (w warden) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Resource != "widgets" {
		return nil
	}
	client, err := kubernetes.NewForConfig(w.loopback)
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{}); err != nil {
		return err
	}
	a.GetObject().(*unstructured.Unstructured).SetLabels(map[string]string{"seen": "yes"})
	return nil
}

func (w warden) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Resource == "widgets" && a.GetName() == "bad" {
		return admission.NewForbidden(a, errors.New("it is bad"))
	}
	return nil
}

// lastWord is a part that still talks to the plane when it is told to end.
type lastWord struct {
	started atomic.Bool
	err     error
}

func (l *lastWord) run(ctx context.Context, loopback *rest.Config) error {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return err
	}
	l.started.Store(true)
	<-ctx.Done()
	_, l.err = client.CoreV1().Namespaces().List(context.WithoutCancel(ctx), metav1.ListOptions{})
	return nil
}

// TestAPlane runs the one plane that a process can hold and asks it everything.
func TestAPlane(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	part := &lastWord{}
	bootstrapped := atomic.Bool{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{
			DataDir:     dir,
			BindAddress: net.IPv4(127, 0, 0, 1),
			CRDs:        []*apiextensionsv1.CustomResourceDefinition{widgetCRD()},
			Namespaces:  []string{"made-by-itself"},
			Conversion:  convertWidgets,
			Admission: []AdmissionPlugin{{Name: "Warden", New: func(loopback *rest.Config) (admission.Interface, error) {
				return warden{admission.NewHandler(admission.Create), loopback}, nil
			}}},
			Bootstrap: []func(context.Context, *rest.Config) error{func(ctx context.Context, loopback *rest.Config) error {
				client, err := dynamic.NewForConfig(loopback)
				if err != nil {
					return err
				}
				_, err = client.Resource(widgets("b")).Namespace("made-by-itself").Create(ctx, widget("b", "first", "size", 1), metav1.CreateOptions{})
				bootstrapped.Store(true)
				return err
			}},
			Parts: append(Upstream(), Part{Name: "last-word", Run: part.run}),
		})
	}()
	config := waitForPlane(t, filepath.Join(dir, "admin.kubeconfig"), ended)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if !bootstrapped.Load() {
		t.Error("the plane was ready before its bootstrap was done")
	}
	t.Run("a CRD's other version is converted in process", func(t *testing.T) { testConversion(t, client) })
	t.Run("an object that cannot be converted is an error and no more", func(t *testing.T) { testFailedConversion(t, client) })
	t.Run("admission plugins see custom resources and can ask the plane", func(t *testing.T) { testAdmission(t, client) })
	t.Run("a namespace of the plane's own cannot be deleted, another can", func(t *testing.T) { testKeeper(t, config) })
	t.Run("closed types refuse what they do not know, and only then", func(t *testing.T) { testStrictFields(t, config, client) })
	t.Run("closed types refuse what they do not know in every encoding", func(t *testing.T) { testEncodings(t, config, client) })
	t.Run("profiles are served, and the command line is not", func(t *testing.T) { testProfiling(t, config) })
	t.Run("a CRD is written only when it differs", func(t *testing.T) { testInstallCRD(t, config) })

	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the plane ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the plane did not end")
	}
	if !part.started.Load() || part.err != nil {
		t.Errorf("a part could not talk to the plane when it was told to end (started %v): %v", part.started.Load(), part.err)
	}
}

func waitForPlane(t *testing.T, kubeconfig string, ended <-chan error) *rest.Config {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("the plane ended: %v", err)
		default:
		}
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			continue
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		if client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error() == nil {
			return config
		}
	}
	t.Fatal("the plane did not become ready")
	return nil
}

// A password may be in the command line, in the URL of the database.
func testProfiling(t *testing.T, config *rest.Config) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (code int, body string) {
		data, err := client.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", "*/*").Do(t.Context()).StatusCode(&code).Raw()
		if err != nil && code == 0 {
			t.Fatalf("%s: %v", path, err)
		}
		return code, string(data)
	}
	if code, _ := get("/debug/pprof/heap"); code != http.StatusOK {
		t.Errorf("a profile is answered with %d", code)
	}
	if code, body := get("/debug/pprof/cmdline"); code != http.StatusNotFound {
		t.Errorf("the command line is answered with %d: %s", code, body)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/cmdline/", "/debug/pprof//cmdline", "/debug/flags", "/debug/vars", "/flagz", "/statusz", "/configz", "/metrics", "/version"} {
		if _, body := get(path); strings.Contains(body, "-test.") || strings.Contains(body, os.Args[0]) {
			t.Errorf("%s shows the command line: %s", path, body)
		}
	}
}

func testConversion(t *testing.T, client dynamic.Interface) {
	ctx := t.Context()
	if _, err := client.Resource(widgets("a")).Namespace("default").Create(ctx, widget("a", "w", "width", 7), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := client.Resource(widgets("b")).Namespace("default").Get(ctx, "w", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedInt64(got.Object, "spec", "size"); size != 7 {
		t.Errorf("in version b it is %v", got.Object)
	}
}

func testFailedConversion(t *testing.T, client dynamic.Interface) {
	ctx := t.Context()
	b := client.Resource(widgets("b")).Namespace("default")
	if _, err := b.Create(ctx, widget("b", "unlucky", "size", 13), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "thirteen") {
		t.Errorf("creating what cannot be converted gave %v", err)
	}
	if _, err := b.Get(ctx, "w", metav1.GetOptions{}); err != nil {
		t.Errorf("the other object cannot be read any more: %v", err)
	}
}

func testAdmission(t *testing.T, client dynamic.Interface) {
	ctx := t.Context()
	a := client.Resource(widgets("a")).Namespace("default")
	if _, err := a.Create(ctx, widget("a", "bad", "width", 1), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "it is bad") {
		t.Errorf("a bad widget was met with %v", err)
	}
	got, err := a.Create(ctx, widget("a", "good", "width", 1), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetLabels()["seen"] != "yes" {
		t.Errorf("labels are %v", got.GetLabels())
	}
}

func testKeeper(t *testing.T, config *rest.Config) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	namespaces := client.CoreV1().Namespaces()
	if _, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "passing"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(t.Context(), "passing", metav1.DeleteOptions{}); err != nil {
		t.Errorf("deleting any namespace gave %v", err)
	}
	if err := namespaces.Delete(t.Context(), "made-by-itself", metav1.DeleteOptions{}); err == nil || !strings.Contains(err.Error(), "the plane's own") {
		t.Errorf("deleting a namespace of the plane's own gave %v", err)
	}
	if ns, err := namespaces.Get(t.Context(), "made-by-itself", metav1.GetOptions{}); err != nil || ns.DeletionTimestamp != nil {
		t.Errorf("the plane's own namespace is going: %v, %v", ns, err)
	}
}

func testInstallCRD(t *testing.T, config *rest.Config) {
	ctx := t.Context()
	client, err := apiextensionsclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	version := func() string {
		t.Helper()
		crd, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgetCRD().Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(crd.Generation, crd.ResourceVersion, crd.Labels)
	}
	before := version()
	if err := installCRD(ctx, client, widgetCRD()); err != nil {
		t.Fatal(err)
	}
	if after := version(); after != before {
		t.Errorf("the same CRD was written again: %s became %s", before, after)
	}
	changed := widgetCRD()
	changed.Spec.Names.ShortNames = []string{"wd"}
	if err := installCRD(ctx, client, changed); err != nil {
		t.Fatal(err)
	}
	if after := version(); after == before {
		t.Error("a changed CRD was not written")
	}
}
