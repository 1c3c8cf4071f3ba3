package apply

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	jsonpatch "github.com/evanphx/json-patch"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// fakeMember is an API server as small as propagation's writes allow: objects by path, namespaces that must be there,
// versions, UIDs, preconditions, finalizers; and it can hang.
type fakeMember struct {
	name   string
	ctx    context.Context
	config *rest.Config
	client dynamic.Interface

	mu      sync.Mutex
	objects map[string]map[string]any
	counter int
	calls   []string
	under   int // calls being answered now
	most    int
	hang    chan struct{}                                   // closed to let calls go on; nil = answers at once
	before  func(method, path string)                       // runs before a call is looked at
	answer  func(w http.ResponseWriter, method string) bool // answers instead; false = not this one
}

func newFakeMember(t *testing.T, name string) *fakeMember {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeMember{name: name, ctx: ctx, objects: map[string]map[string]any{}}
	server := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() {
		f.thaw()
		cancel()
		server.CloseClientConnections()
		server.Close()
	})
	f.config = &rest.Config{Host: server.URL, QPS: -1}
	client, err := dynamic.NewForConfig(f.config)
	if err != nil {
		t.Fatal(err)
	}
	f.client = client
	f.objects["/api/v1/namespaces/acme"] = map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "acme"}}
	return f
}

func (f *fakeMember) Name() string               { return f.name }
func (f *fakeMember) Context() context.Context   { return f.ctx }
func (f *fakeMember) Dynamic() dynamic.Interface { return f.client }

func (f *fakeMember) REST() (rest.Interface, error) {
	config := dynamic.ConfigFor(f.config)
	config.GroupVersion = nil
	return rest.UnversionedRESTClientForConfigAndClient(config, http.DefaultClient)
}

func (f *fakeMember) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang == nil {
		f.hang = make(chan struct{})
	}
}

func (f *fakeMember) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang != nil {
		close(f.hang)
		f.hang = nil
	}
}

func (f *fakeMember) heard() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakeMember) busiest() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

// put keeps an object as the server would, and returns it as a client sees it.
func (f *fakeMember) put(path string, obj map[string]any) *unstructured.Unstructured {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &unstructured.Unstructured{Object: f.store(path, obj)}
}

func (f *fakeMember) get(path string) *unstructured.Unstructured {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects[path] == nil {
		return nil
	}
	return (&unstructured.Unstructured{Object: f.objects[path]}).DeepCopy()
}

func (f *fakeMember) store(path string, obj map[string]any) map[string]any {
	f.counter++
	u := (&unstructured.Unstructured{Object: obj}).DeepCopy()
	metadata := u.Object["metadata"].(map[string]any)
	metadata["resourceVersion"] = strconv.Itoa(f.counter)
	metadata["generation"] = int64(f.counter)
	metadata["managedFields"] = []any{map[string]any{"manager": "x"}}
	if u.GetUID() == "" {
		metadata["uid"] = "uid-" + strconv.Itoa(f.counter)
	}
	f.objects[path] = u.Object
	return u.DeepCopy().Object
}

func (f *fakeMember) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.calls = append(f.calls, r.Method+" "+r.URL.Path)
	f.under++
	f.most = max(f.most, f.under)
	hang, before, answer := f.hang, f.before, f.answer
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.under--
		f.mu.Unlock()
	}()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	if before != nil {
		before(r.Method, r.URL.Path)
	}
	if answer != nil && answer(w, r.Method) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Content-Type") == string(types.JSONPatchType) {
		f.patchJSON(w, r.URL.Path, body)
		return
	}
	f.handle(w, r.Method, r.URL.Path, body)
}

// patchJSON answers a patch that does not apply as API servers do: with 422 and no cause.
func (f *fakeMember) patchJSON(w http.ResponseWriter, path string, body []byte) {
	if f.objects[path] == nil {
		refuse(w, 404, metav1.StatusReasonNotFound, "not found")
		return
	}
	raw, _ := json.Marshal(f.objects[path])
	p, err := jsonpatch.DecodePatch(body)
	if err != nil {
		refuse(w, 400, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	after, err := p.Apply(raw)
	if err != nil {
		refuse(w, 422, metav1.StatusReasonInvalid, "the server rejected our request due to an error in our request")
		return
	}
	var obj map[string]any
	_ = utiljson.Unmarshal(after, &obj)
	reply(w, 200, f.store(path, obj))
}

func (f *fakeMember) handle(w http.ResponseWriter, method, path string, body []byte) {
	there := f.objects[path]
	var sent map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &sent); err != nil {
			refuse(w, 400, metav1.StatusReasonBadRequest, err.Error())
			return
		}
	}
	in := &unstructured.Unstructured{Object: sent}
	have := &unstructured.Unstructured{Object: there}
	switch {
	case method == http.MethodPost:
		at := path + "/" + in.GetName()
		if ns := in.GetNamespace(); ns != "" && f.objects["/api/v1/namespaces/"+ns] == nil {
			refuse(w, 404, metav1.StatusReasonNotFound, "namespaces \""+ns+"\" not found")
		} else if f.objects[at] != nil {
			refuse(w, 409, metav1.StatusReasonAlreadyExists, "already exists")
		} else {
			reply(w, 201, f.store(at, sent))
		}
	case there == nil:
		refuse(w, 404, metav1.StatusReasonNotFound, "not found")
	case method == http.MethodGet:
		reply(w, 200, there)
	case method == http.MethodPut && in.GetResourceVersion() != have.GetResourceVersion():
		refuse(w, 409, metav1.StatusReasonConflict, "the object has been modified")
	case method == http.MethodPut:
		in.SetUID(have.GetUID())
		reply(w, 200, f.store(path, sent))
	case method == http.MethodPatch:
		f.patch(w, path, have, sent)
	case method == http.MethodDelete:
		f.remove(w, path, have, sent)
	}
}

func (f *fakeMember) patch(w http.ResponseWriter, path string, have *unstructured.Unstructured, sent map[string]any) {
	metadata := sent["metadata"].(map[string]any)
	if metadata["uid"] != string(have.GetUID()) {
		refuse(w, 409, metav1.StatusReasonConflict, "Precondition failed: UID in precondition")
		return
	}
	labels, annotations := have.GetLabels(), have.GetAnnotations()
	for k := range metadata["labels"].(map[string]any) {
		delete(labels, k)
	}
	for k := range metadata["annotations"].(map[string]any) {
		delete(annotations, k)
	}
	have.SetLabels(labels)
	have.SetAnnotations(annotations)
	reply(w, 200, f.store(path, have.Object))
}

func (f *fakeMember) remove(w http.ResponseWriter, path string, have *unstructured.Unstructured, sent map[string]any) {
	if uid, _, _ := unstructured.NestedString(sent, "preconditions", "uid"); uid != string(have.GetUID()) {
		refuse(w, 409, metav1.StatusReasonConflict, "Precondition failed: UID in precondition: "+uid)
		return
	}
	if len(have.GetFinalizers()) > 0 {
		have = have.DeepCopy()
		have.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T12:00:00Z"
		reply(w, 200, f.store(path, have.Object))
		return
	}
	delete(f.objects, path)
	reply(w, 200, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success", "details": map[string]any{"uid": string(have.GetUID())}})
}

func reply(w http.ResponseWriter, code int, obj map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(obj)
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	reply(w, code, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": string(reason), "code": code, "message": message})
}

func count(calls []string, prefix string) (n int) {
	for _, c := range calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func refuseAll(w http.ResponseWriter, _ string) bool {
	refuse(w, 403, metav1.StatusReasonForbidden, "no")
	return true
}
