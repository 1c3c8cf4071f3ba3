package member_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/member"
)

var errFence = errors.New("the fence is closed")

// behindFence connects to a member that counts what reaches it, by method, behind a fence that the test makes.
func behindFence(t *testing.T, fence func() error) (*member.Fleet, *httptest.Server, func(method string) int64) {
	t.Helper()
	counts := map[string]*atomic.Int64{http.MethodGet: {}, http.MethodPut: {}, http.MethodDelete: {}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { counts[r.Method].Add(1) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	fleet := member.NewFleet(ctx, member.Options{Fence: fence})
	fleet.Engage("m", member.Config{REST: &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}})
	fleet.SetReachable("m", true, "", "")
	return fleet, server, func(method string) int64 { return counts[method].Load() }
}

func send(t *testing.T, fleet *member.Fleet, server *httptest.Server, method string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/api/v1/namespaces/a/configmaps/b", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := connected(t, fleet, "m").HTTPClient().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

func TestNothingIsWrittenToAMemberBehindAClosedFence(t *testing.T) {
	var closed atomic.Bool
	fleet, server, count := behindFence(t, func() error {
		if closed.Load() {
			return errFence
		}
		return nil
	})
	if err := send(t, fleet, server, http.MethodPut); err != nil || count(http.MethodPut) != 1 {
		t.Fatalf("an open fence let %d writes through: %v", count(http.MethodPut), err)
	}
	fleet.OnSuspicion(func(string) { t.Error("the member is suspected, and it did nothing") })
	closed.Store(true)
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		if err := send(t, fleet, server, method); !errors.Is(err, errFence) {
			t.Errorf("%s: got %v, want what the fence says", method, err)
		}
	}
	if count(http.MethodPut) != 1 || count(http.MethodDelete) != 0 {
		t.Errorf("a closed fence let %d and %d writes through", count(http.MethodPut)-1, count(http.MethodDelete))
	}
	closed.Store(false)
	if err := send(t, fleet, server, http.MethodDelete); err != nil || count(http.MethodDelete) != 1 {
		t.Errorf("after the fence was opened again: %d writes, %v", count(http.MethodDelete), err)
	}
}

// The process may be frozen between the question and the write, or a connection may take its time.
func TestAWriteIsStoppedByAFenceThatClosesOnItsWay(t *testing.T) {
	var left atomic.Int64 // how often the fence still says yes
	left.Store(1 << 40)
	fleet, server, count := behindFence(t, func() error {
		if left.Add(-1) < 0 {
			return errFence
		}
		return nil
	})
	if err := send(t, fleet, server, http.MethodGet); err != nil {
		t.Fatal(err)
	}
	left.Store(1)
	if err := send(t, fleet, server, http.MethodPut); err == nil {
		t.Error("the write went out")
	}
	if n := count(http.MethodPut); n != 0 {
		t.Errorf("%d writes arrived", n)
	}
}
