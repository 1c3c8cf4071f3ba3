package e2e

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// behind is a real member behind a proxy that can be given faults.
func behind(t *testing.T, name, member string) (rawMember, *membertest.Hostile) {
	t.Helper()
	config := world.members.Named(member).Config
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0) // connections that are cut are what is tested
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: quiet,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Authorization") // the transport says who it is
		},
	}
	hostile := membertest.NewHostile(proxy)
	server := httptest.NewUnstartedServer(hostile)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return rawMember{name: name, endpoint: server.URL, ca: ca, secret: map[string]string{"token": "any"}}, hostile
}

func TestRealMembersThatTurnBadCostThemselvesAndComeBack(t *testing.T) {
	w := newTenant(t, "turned-bad", "good "+west)
	faults := membertest.Faults()
	hostile := make([]*membertest.Hostile, len(faults))
	everywhere, manifest := []string{"good"}, ""
	for i := range faults {
		name := fmt.Sprintf("bad-%02d", i)
		var raw rawMember
		raw, hostile[i] = behind(t, name, east)
		raw.federate(t)
		manifest += w.unit(name + " " + name + " turned-" + name)
		w.at[name] = [2]string{east, "turned-" + name} // past the proxy
		everywhere = append(everywhere, name)
	}
	w.apply(manifest)
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=60s")
	all := func(version string) []string {
		out := []string{"good=" + version}
		for _, unit := range everywhere[1:] {
			out = append(out, unit+"="+version)
		}
		return out
	}
	w.apply(w.config("web", "1", placed(everywhere...)))
	w.has("web", all("1")...)
	w.told("web", "True")

	for i, fault := range faults {
		hostile[i].Set(fault)
	}
	w.apply(w.config("web", "2", placed(everywhere...)))
	w.within(soon, "a release to the healthy unit", func() { w.has("web", "good=2") })
	for i := range 10 {
		name := fmt.Sprintf("late-%d", i)
		w.apply(w.config(name, "1", placed(everywhere...)))
		w.within(soon, "an object that is new", func() { w.has(name, "good=1") })
		w.apply(w.config(name, "2", placed(everywhere...)))
		w.within(soon, "its update", func() { w.has(name, "good=2") })
	}
	w.apply(w.config("alone", "1", placed("good")))
	w.within(soon, "an object that no bad member concerns", func() { w.told("alone", "True") })
	w.told("web", "False")
	w.noStorm(hostile, faults)

	for _, h := range hostile {
		h.Set(nil)
	}
	deadline := time.Now().Add(2 * time.Minute) // pauses have grown
	for err := w.mismatch("web", all("2")); err != nil; err = w.mismatch("web", all("2")) {
		if time.Now().After(deadline) {
			t.Fatalf("what was bad did not come back: %v", err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	w.kubectl("delete", "federatedconfigmaps", "--all", "-n", w.ns, "--timeout=120s")
	w.has("web", all("")...)
	w.kubectl("delete", "units", "--all", "-n", w.ns, "--timeout=60s")
}

// noStorm counts for a while what reaches the bad members, and how often the plane writes what it says of them.
func (w *tenant) noStorm(hostile []*membertest.Hostile, faults []*membertest.Fault) {
	w.Helper()
	const while = 15 * time.Second
	time.Sleep(while) // the first pauses are short
	before := make([]map[string]int, len(hostile))
	for i, h := range hostile {
		before[i] = h.Requests()
	}
	version := w.get("web").GetResourceVersion()
	writes := 0
	for end := time.Now().Add(while); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now := w.get("web").GetResourceVersion(); now != version {
			version = now
			writes++
		}
	}
	for i, h := range hostile {
		asked := 0
		for what, n := range h.Requests() {
			if what != "health" {
				asked += n - before[i][what]
			}
		}
		w.Logf("%-40s %3d requests in %s", faults[i].Name, asked, while)
		// 11 objects, each tried at most every few seconds, and one kind that is read.
		if asked > 60 {
			w.Errorf("%s: the member was asked %d times in %s", faults[i].Name, asked, while)
		}
		if e := w.entry("web", fmt.Sprintf("bad-%02d", i)); strings.Contains(fmt.Sprint(e["message"]), "Please log in") {
			w.Errorf("status holds what a member's login page says: %v", e)
		}
	}
	w.Logf("status was written %d times in %s", writes, while)
	if writes > 30 {
		w.Errorf("one object's status was written %d times in %s, with %d bad members", writes, while, len(hostile))
	}
}

// A member that answers for its health and sends its visitors elsewhere must not get them there.
func TestARedirectIsNotFollowed(t *testing.T) {
	visited := make(chan string, 16)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case visited <- r.Header.Get("Authorization"):
		default:
		}
	}))
	defer elsewhere.Close()
	w := newTenant(t, "redirected", "good "+west)
	fake := fakeMember(t, "bad-redirect", healthyBut(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	fake.federate(t)
	w.apply(w.unit("astray bad-redirect"))
	w.kubectl("wait", "--for=condition=Ready", "units", "--all", "-n", w.ns, "--timeout=30s")
	w.apply(w.config("web", "1", placed("good", "astray")))
	w.has("web", "good=1")
	w.eventually(func() error {
		if e := w.entry("web", "astray"); !strings.Contains(fmt.Sprint(e["message"]), "redirect") {
			return fmt.Errorf("status is %v", e)
		}
		return nil
	})
	select {
	case token := <-visited:
		t.Errorf("the plane went where it was sent, and showed %q", token)
	default:
	}
}
