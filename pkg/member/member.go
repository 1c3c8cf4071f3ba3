package member

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// maxDiscovery bounds what is read of a member's discovery document.
const maxDiscovery = 8 << 20

// Member is one connection to a physical member.
type Member struct {
	fleet    *Fleet
	name     string
	identity string
	opts     Options

	ctx    context.Context
	cancel context.CancelCauseFunc

	pool    *Transport
	client  *http.Client
	rest    *rest.Config
	dynamic dynamic.Interface

	gate  gate
	heavy chan struct{} // held by the call that reads a heavy answer

	mu    sync.Mutex
	views map[schema.GroupVersionResource]*View
}

func newMember(f *Fleet, name string, config Config) (*Member, error) {
	ctx, cancel := context.WithCancelCause(f.ctx)
	pool, err := NewTransport(ctx, name, config, f.opts)
	if err != nil {
		cancel(err)
		return nil, err
	}
	m := &Member{
		fleet: f, name: name, opts: f.opts, ctx: ctx, cancel: cancel, pool: pool,
		rest: config.restConfig(f.opts), views: map[schema.GroupVersionResource]*View{},
		gate: gate{member: name}, heavy: make(chan struct{}, 1),
	}
	m.client = &http.Client{
		Transport: &watched{member: m, next: pool},
		// A member's answer must not send the plane's credentials elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	m.dynamic, err = dynamic.NewForConfigAndClient(m.rest, m.client)
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("making a client for member %s: %w", name, err)
	}
	return m, nil
}

// end ends the connection and everything on it. Calls in flight fail with the cause.
func (m *Member) end(cause *NotConnectedError) {
	m.cancel(cause)
	m.pool.Cut()
}

// Name returns the member's name.
func (m *Member) Name() string { return m.name }

// Identity is who the cluster is that this connection was made to (Fleet.Identify); "" = it is not known.
func (m *Member) Identity() string { return m.identity }

// Context ends with the connection; its cause is a *NotConnectedError.
func (m *Member) Context() context.Context { return m.ctx }

// Dynamic returns a client over the member's shared connections.
func (m *Member) Dynamic() dynamic.Interface { return m.dynamic }

// HTTPClient returns the HTTP client under Dynamic. It has no timeout of its own: calls carry theirs in their context.
func (m *Member) HTTPClient() *http.Client { return m.client }

// View returns what is known of a kind in this member. Its first use starts the watch.
func (m *Member) View(gvr schema.GroupVersionResource) *View {
	m.mu.Lock()
	v := m.views[gvr]
	m.mu.Unlock()
	if v != nil {
		return v
	}
	m.fleet.used(m, gvr)
	return m.startView(gvr)
}

func (m *Member) startView(gvr schema.GroupVersionResource) *View {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.views[gvr]; v != nil {
		return v
	}
	v := newView(m, gvr)
	m.views[gvr] = v
	go v.run()
	return v
}

// Opened returns the view of a kind if there is one, and starts none.
func (m *Member) Opened(gvr schema.GroupVersionResource) (*View, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.views[gvr]
	return v, v != nil
}

func (m *Member) stopView(gvr schema.GroupVersionResource) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.views[gvr]; v != nil {
		v.cancel(&NotConnectedError{Member: m.name, Reason: ReasonStopped, Message: "the view of " + nameOf(gvr) + " was stopped"})
		delete(m.views, gvr)
	}
}

// Kind asks the member for a kind: it returns the member's own description of the resource, a *LacksKindError, or
// the reason why the member did not say. It costs one call.
func (m *Member) Kind(ctx context.Context, gvr schema.GroupVersionResource) (*metav1.APIResource, error) {
	path := "/apis/" + gvr.Group + "/" + gvr.Version
	if gvr.Group == "" {
		path = "/api/" + gvr.Version
	}
	base, _, err := rest.DefaultServerUrlFor(m.rest)
	if err != nil {
		return nil, fmt.Errorf("asking member %s for its kinds: %w", m.name, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking member %s for its kinds: %w", m.name, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking member %s for its kinds: %w", m.name, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, &LacksKindError{Member: m.name, GVR: gvr}
	default:
		return nil, fmt.Errorf("asking member %s for its kinds: GET %s: %s", m.name, path, resp.Status)
	}
	var list metav1.APIResourceList
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDiscovery)).Decode(&list); err != nil {
		return nil, fmt.Errorf("reading the kinds of member %s: %w", m.name, err)
	}
	for i := range list.APIResources {
		if list.APIResources[i].Name == gvr.Resource {
			return &list.APIResources[i], nil
		}
	}
	return nil, &LacksKindError{Member: m.name, GVR: gvr}
}
