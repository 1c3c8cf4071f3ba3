package e2e

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

const federation = "kube-federation-system"

// rawMember is a KubeFedCluster and its secret, written by hand: join would refuse most of what these tests want.
type rawMember struct {
	name, endpoint string
	ca             []byte
	secret         map[string]string
}

// create makes the member on a plane.
func (r rawMember) create(ctx context.Context, plane dynamic.Interface) error {
	data := map[string]any{}
	for key, value := range r.secret {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
		"metadata": map[string]any{"namespace": federation, "name": "raw-" + r.name}, "data": data}}
	if r.secret != nil {
		if _, err := plane.Resource(secrets).Namespace(federation).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	spec := map[string]any{"apiEndpoint": r.endpoint, "secretRef": map[string]any{"name": "raw-" + r.name}}
	if r.ca != nil {
		spec["caBundle"] = base64.StdEncoding.EncodeToString(r.ca)
	}
	cluster := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "core.kubefed.io/v1beta1", "kind": "KubeFedCluster",
		"metadata": map[string]any{"namespace": federation, "name": r.name}, "spec": spec}}
	_, err := plane.Resource(kubeFedClusters).Namespace(federation).Create(ctx, cluster, metav1.CreateOptions{})
	return err
}

// remove takes the member off the plane, whatever may be left in it.
func (r rawMember) remove(ctx context.Context, plane dynamic.Interface) error {
	for _, part := range []struct {
		gvr  schema.GroupVersionResource
		name string
	}{{kubeFedClusters, r.name}, {secrets, "raw-" + r.name}} {
		err := plane.Resource(part.gvr).Namespace(federation).Delete(ctx, part.name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	_, err := plane.Resource(kubeFedClusters).Namespace(federation).Patch(ctx, r.name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// federate makes the member on the shared plane until the test ends.
func (r rawMember) federate(t *testing.T) {
	t.Helper()
	if err := r.create(t.Context(), world.client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.remove(ctx, world.client); err != nil {
			t.Errorf("removing member %s: %v", r.name, err)
		}
	})
}

// second is a real member once more, under another name and with its administrator's kubeconfig.
func second(t *testing.T, name, member string) rawMember {
	t.Helper()
	m := world.members.Named(member)
	kubeconfig, err := os.ReadFile(m.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return rawMember{name: name, endpoint: m.Config.Host, ca: m.Config.CAData, secret: map[string]string{"kubeconfig": string(kubeconfig)}}
}

// memberToken is the token that the plane has for a real member.
func memberToken(t *testing.T, member string) string {
	t.Helper()
	cluster, err := world.client.Resource(kubeFedClusters).Namespace(federation).Get(t.Context(), member, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := unstructured.NestedString(cluster.Object, "spec", "secretRef", "name")
	secret, err := world.client.Resource(secrets).Namespace(federation).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	coded, _, _ := unstructured.NestedString(secret.Object, "data", "token")
	token, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(token) == 0 {
		t.Fatalf("the secret of %s holds no token: %v", member, err)
	}
	return string(token)
}

// fakeMember is a member that is an HTTPS server of the test.
func fakeMember(t *testing.T, name string, handler http.HandlerFunc) rawMember {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that the plane cuts are what is tested
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return rawMember{name: name, endpoint: server.URL, ca: ca, secret: map[string]string{"token": "any"}}
}

// healthyBut answers for its health as a member in order does, and leaves everything else to a handler.
func healthyBut(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			_, _ = io.WriteString(w, "ok")
		case "/version":
			_, _ = io.WriteString(w, `{"gitVersion":"v1.36.3"}`)
		default:
			handler(w, r)
		}
	}
}

// always answers everything in one way.
func always(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// never answers nothing, until the caller goes: a server sees that only when it has read the request.
func never(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// silent is a listener that accepts and says nothing, not even in TLS.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		var open []net.Conn
		defer func() {
			for _, c := range open {
				_ = c.Close()
			}
		}()
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			open = append(open, c) // kept: a connection that is collected is closed
		}
	}()
	return "https://" + listener.Addr().String()
}

// deaf is an address where nobody listens.
func deaf(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return "https://" + address
}

// otherAuthority is a certificate that no member was signed with.
func otherAuthority(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// nestedEntries are the entries of units in a status in topology form, by unit.
func nestedEntries(u *unstructured.Unstructured) (map[string]map[string]any, bool, error) {
	list, found, err := unstructured.NestedSlice(u.Object, "status", "topologies")
	out := map[string]map[string]any{}
	for _, e := range list {
		m, _ := e.(map[string]any)
		name, _ := m["name"].(string)
		out[name] = m
	}
	return out, found, err
}

// molasses is a proxy to a member that can be made to pass one byte a second.
type molasses struct {
	listener net.Listener
	target   string
	slow     atomic.Bool
	mu       sync.Mutex
	open     []net.Conn
}

func newMolasses(t *testing.T, member string) *molasses {
	t.Helper()
	target, err := url.Parse(world.members.Named(member).Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &molasses{listener: listener, target: target.Host}
	t.Cleanup(p.close)
	go p.serve()
	return p
}

func (p *molasses) endpoint() string { return "https://" + p.listener.Addr().String() }

func (p *molasses) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
}

func (p *molasses) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.open = append(p.open, in, out)
		p.mu.Unlock()
		go p.pass(out, in)
		go p.pass(in, out)
	}
}

// pass carries bytes until one side ends, and then ends the other.
func (p *molasses) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		room := buffer
		if p.slow.Load() {
			room = buffer[:1]
			time.Sleep(time.Second)
		}
		n, err := from.Read(room)
		if err != nil {
			return
		}
		if _, err := to.Write(room[:n]); err != nil {
			return
		}
	}
}
