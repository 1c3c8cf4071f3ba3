// Package membertest is a member small enough for unit tests: a real HTTPS server that answers health, version,
// who it is, discovery, lists and watches, and that can be made to misbehave in the ways members do.
//
// It knows nothing of writes: tests that write use real members. It must not be imported outside tests.
package membertest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Token is what a Server accepts.
const Token = "a-good-token"

// Server is a member's API server.
type Server struct {
	*httptest.Server
	// Hostile stands before it.
	Hostile *Hostile

	mu       sync.Mutex
	rv       int
	kinds    map[schema.GroupVersionResource]*kind
	frozen   chan struct{} // closed by Thaw; nil while the server answers
	healthz  string
	identity string
	forbid   map[schema.GroupVersionResource]bool
	requests map[string]int
	watches  map[schema.GroupVersionResource]int
}

type kind struct {
	kind    string
	objects map[string]*unstructured.Unstructured
	history []event
	changed chan struct{} // closed and renewed at each event
	gone    chan struct{}
}

type event struct {
	rv     int
	Type   string
	object *unstructured.Unstructured
}

// New starts a server that lives as long as the test.
func New(t testing.TB) *Server {
	s := &Server{
		rv: 100, healthz: "ok", kinds: map[schema.GroupVersionResource]*kind{}, forbid: map[schema.GroupVersionResource]bool{},
		requests: map[string]int{}, watches: map[schema.GroupVersionResource]int{},
	}
	s.Hostile = NewHostile(http.HandlerFunc(s.serve))
	s.Server = httptest.NewUnstartedServer(s.Hostile)
	s.identity = "uid-of-" + s.Listener.Addr().String()
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are what tests are about
	s.StartTLS()
	t.Cleanup(func() {
		s.Thaw()
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// CA is the PEM certificate that clients trust the server by.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// Serve makes the server serve a kind, as if its CRD had been installed.
func (s *Server) Serve(gvr schema.GroupVersionResource, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[gvr] = &kind{kind: name, objects: map[string]*unstructured.Unstructured{}, changed: make(chan struct{}), gone: make(chan struct{})}
}

// Drop makes the server forget a kind: its watches end.
func (s *Server) Drop(gvr schema.GroupVersionResource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kinds[gvr]; k != nil {
		close(k.gone)
	}
	delete(s.kinds, gvr)
}

// Forbid makes the server answer 403 for a kind.
func (s *Server) Forbid(gvr schema.GroupVersionResource, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbid[gvr] = yes
}

// Freeze makes the server accept everything and answer nothing, until Thaw.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen == nil {
		s.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen != nil {
		close(s.frozen)
		s.frozen = nil
	}
}

// SetHealth sets the body of /healthz; anything but "ok" comes with status 500.
func (s *Server) SetHealth(body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healthz = body
}

// SetIdentity sets the UID of the server's namespace kube-system; "" forbids reading it. A new server has one of its own.
func (s *Server) SetIdentity(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity = uid
}

// Put creates or updates an object.
func (s *Server) Put(gvr schema.GroupVersionResource, namespace, name string, labels map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rv++
	k := s.kinds[gvr]
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvr.GroupVersion().WithKind(k.kind))
	u.SetNamespace(namespace)
	u.SetName(name)
	u.SetLabels(labels)
	u.SetResourceVersion(strconv.Itoa(s.rv))
	u.SetUID(types.UID(fmt.Sprintf("uid-%d", s.rv)))
	if old := k.objects[namespace+"/"+name]; old != nil {
		u.SetUID(old.GetUID())
	}
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "a-controller"}})
	what := "ADDED"
	if k.objects[namespace+"/"+name] != nil {
		what = "MODIFIED"
	}
	k.objects[namespace+"/"+name] = u
	k.tell(event{rv: s.rv, Type: what, object: u})
}

// Delete deletes an object.
func (s *Server) Delete(gvr schema.GroupVersionResource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rv++
	k := s.kinds[gvr]
	u := k.objects[namespace+"/"+name].DeepCopy()
	u.SetResourceVersion(strconv.Itoa(s.rv))
	delete(k.objects, namespace+"/"+name)
	k.tell(event{rv: s.rv, Type: "DELETED", object: u})
}

func (k *kind) tell(ev event) {
	k.history = append(k.history, ev)
	close(k.changed)
	k.changed = make(chan struct{})
}

// Requests tells how many requests have come for a path.
func (s *Server) Requests(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// Watches tells how many watches of a kind are open.
func (s *Server) Watches(gvr schema.GroupVersionResource) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches[gvr]
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.URL.Path]++
	frozen, health, identity := s.frozen, s.healthz, s.identity
	s.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-r.Context().Done():
			return
		}
	}
	if r.Header.Get("Authorization") != "Bearer "+Token {
		status(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
		return
	}
	switch {
	case r.URL.Path == "/healthz":
		if health != "ok" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, health)
	case r.URL.Path == "/api/v1/namespaces/kube-system" && identity == "":
		status(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	case r.URL.Path == "/api/v1/namespaces/kube-system":
		write(w, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "kube-system", "uid": identity}})
	case r.URL.Path == "/version":
		fmt.Fprint(w, `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`)
	default:
		s.serveKinds(w, r)
	}
}

func (s *Server) serveKinds(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var gv schema.GroupVersion
	if parts[0] == "api" && len(parts) >= 2 {
		gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	} else if parts[0] == "apis" && len(parts) >= 3 {
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	}
	s.mu.Lock()
	list := metav1.APIResourceList{GroupVersion: gv.String()}
	for gvr, k := range s.kinds {
		if gvr.GroupVersion() == gv {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: gvr.Resource, Kind: k.kind, Namespaced: true})
		}
	}
	var gvr schema.GroupVersionResource
	var k *kind
	forbidden := false
	if len(parts) == 1 {
		gvr = gv.WithResource(parts[0])
		k, forbidden = s.kinds[gvr], s.forbid[gvr]
	}
	s.mu.Unlock()
	switch {
	case len(parts) == 0 && len(list.APIResources) > 0:
		write(w, list)
	case forbidden:
		status(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	case k == nil:
		status(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case r.URL.Query().Get("labelSelector") != "kubefed.io/managed=true":
		status(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
	case r.URL.Query().Get("watch") == "":
		s.list(w, gvr, k)
	case r.URL.Query().Get("sendInitialEvents") != "": // as servers before 1.32
		status(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
	default:
		s.watch(w, r, gvr, k)
	}
}

func managed(u *unstructured.Unstructured) bool { return u.GetLabels()["kubefed.io/managed"] == "true" }

func (s *Server) list(w http.ResponseWriter, gvr schema.GroupVersionResource, k *kind) {
	s.mu.Lock()
	items := []any{}
	for _, u := range k.objects {
		if managed(u) {
			items = append(items, u.Object)
		}
	}
	body := map[string]any{
		"apiVersion": gvr.GroupVersion().String(), "kind": k.kind + "List",
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(s.rv)}, "items": items,
	}
	s.mu.Unlock()
	write(w, body)
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, gvr schema.GroupVersionResource, k *kind) {
	since, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		status(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.count(gvr, 1)
	defer s.count(gvr, -1)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush := func() { w.(http.Flusher).Flush() }
	flush()
	for {
		s.mu.Lock()
		var out []event
		for _, ev := range k.history {
			if ev.rv > since && managed(ev.object) {
				out = append(out, ev)
			}
			since = max(since, ev.rv)
		}
		changed := k.changed
		s.mu.Unlock()
		for _, ev := range out {
			write(w, map[string]any{"type": ev.Type, "object": ev.object.Object})
		}
		flush()
		select {
		case <-changed:
		case <-k.gone:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) count(gvr schema.GroupVersionResource, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[gvr] += n
}

func status(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	write(w, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: http.StatusText(code),
	})
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
}
