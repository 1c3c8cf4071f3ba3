package member_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// plainServer is a member that answers as a handler wants.
func plainServer(t *testing.T, handler http.HandlerFunc) member.Config {
	s := httptest.NewServer(handler)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return member.Config{REST: &rest.Config{Host: s.URL}}
}

func reachable(t *testing.T, config member.Config) (*member.Fleet, *member.Member) {
	f, _ := impatient(t)
	f.Engage("a", config)
	f.SetReachable("a", true, "", "")
	return f, connected(t, f, "a")
}

func TestAMemberThatLiedIsBelievedAgainAfterAWhile(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	s.Put(configMaps, "ns", "one", ours)
	f, events := impatient(t)
	s.Hostile.Set(membertest.FaultNamed("a watch back in time"))
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	v := connected(t, f, "a").View(configMaps)
	var lie *member.LieError
	eventually(t, "it is not believed", func() bool { return errors.As(v.Err(), &lie) })
	time.Sleep(500 * time.Millisecond)
	told := events.count(member.Event{Member: "a", GVR: configMaps})
	if told > 2 { // synced at first, and then not
		t.Errorf("a view that is listed again and again told %d times how it is", told)
	}
	s.Hostile.Set(nil)
	s.CloseClientConnections()
	began := time.Now()
	eventually(t, "it is believed again", v.Synced)
	if took := time.Since(began); took < time.Second {
		t.Errorf("it was believed after %s", took)
	}
	if _, there := v.Get("ns", "one"); !there || v.Err() != nil {
		t.Errorf("the view shows %v, error %v", v.List(), v.Err())
	}
}

func TestAWatchThatEndsGoesOnWhereItEnded(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	s.Put(configMaps, "ns", "one", ours)
	f, _ := impatient(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	v := connected(t, f, "a").View(configMaps)
	eventually(t, "the view is synced", v.Synced)
	eventually(t, "the watch runs", func() bool { return s.Watches(configMaps) == 1 })
	s.CloseClientConnections()
	s.Put(configMaps, "ns", "two", ours)
	s.Delete(configMaps, "ns", "one")
	eventually(t, "what was missed has come", func() bool {
		_, one := v.Get("ns", "one")
		_, two := v.Get("ns", "two")
		return !one && two
	})
	if n := s.Hostile.Requests()["list"]; n != 1 {
		t.Errorf("the kind was listed %d times", n)
	}
}

func TestAnObjectThatChangesAllTheTimeIsToldAFewTimesASecondAndInTheEnd(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	f, events := impatient(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	v := connected(t, f, "a").View(configMaps)
	eventually(t, "the view is synced", v.Synced)
	var last atomic.Value
	f.Subscribe(func(e member.Event) {
		if u, there := v.Get("ns", "one"); there && e.Name == "one" {
			last.Store(u.GetResourceVersion())
		}
	})
	began := time.Now()
	for time.Since(began) < time.Second {
		s.Put(configMaps, "ns", "one", ours)
		time.Sleep(2 * time.Millisecond)
	}
	eventually(t, "the last change is told", func() bool {
		u, there := v.Get("ns", "one")
		return there && last.Load() == u.GetResourceVersion()
	})
	if n := events.count(member.Event{Member: "a", GVR: configMaps, Namespace: "ns", Name: "one"}); n > 12 {
		t.Errorf("it was told %d times in a second", n)
	}
}

func TestWhatThePlaneAskedForMayTakeMoreMemoryThanStrangers(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	for i := range 2000 {
		s.Put(configMaps, "ns", fmt.Sprintf("o-%d", i), ours)
	}
	var expected atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := member.NewFleet(ctx, member.Options{RetryMin: 20 * time.Millisecond, RetryMax: 50 * time.Millisecond, MemoryPerMember: 1 << 20})
	f.Expect(configMaps, member.Expectation{Kind: "ConfigMap", Namespaced: true, Weight: func(string) int64 { return expected.Load() }})
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	v := connected(t, f, "a").View(configMaps)
	var much *member.TooMuchError
	eventually(t, "it is too much", func() bool { return errors.As(v.Err(), &much) })
	expected.Store(16 << 20)
	eventually(t, "it is what was asked for", v.Synced)
	if n := len(v.List()); n != 2000 {
		t.Errorf("the view holds %d objects", n)
	}
}

func write(t *testing.T, m *member.Member) error {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x", "namespace": "ns"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := dynamic.Interface(m.Dynamic()).Resource(configMaps).Namespace("ns").Create(ctx, u, metav1.CreateOptions{})
	return err
}

const written = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"ns"}}`

func TestAMemberThatIsBusyForAMomentFailsNothing(t *testing.T) {
	var asked atomic.Int32
	var bodies sync.Map
	_, m := reachable(t, plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		n := asked.Add(1)
		bodies.Store(n, string(raw))
		w.Header().Set("Content-Type", "application/json")
		if n == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, written)
	}))
	if err := write(t, m); err != nil {
		t.Fatal(err)
	}
	first, _ := bodies.Load(int32(1))
	second, _ := bodies.Load(int32(2))
	if asked.Load() != 2 || first != second || !strings.Contains(fmt.Sprint(second), "ConfigMap") {
		t.Errorf("%d requests: %q, then %q", asked.Load(), first, second)
	}
}

func TestAMemberThatRefusesForTooManyRequestsGetsFew(t *testing.T) {
	var asked atomic.Int32
	var well atomic.Bool
	_, m := reachable(t, plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if !well.Load() {
			w.Header().Set("Retry-After", "0") // at once, ten times over
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, written)
	}))
	var wg sync.WaitGroup
	var failed, done atomic.Int32
	stop := time.Now().Add(4 * time.Second)
	for range 32 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for time.Now().Before(stop) {
				var busy *member.BusyError
				switch err := write(t, m); {
				case err == nil:
					done.Add(1)
				case errors.As(err, &busy):
					failed.Add(1)
					time.Sleep(10 * time.Millisecond)
				default:
					failed.Add(1)
				}
			}
		}()
	}
	wg.Wait()
	// 32 at once, before any answer; then one at a time, further and further apart.
	if n := asked.Load(); n > 40 || done.Load() != 0 {
		t.Errorf("%d requests reached it, %d calls failed, %d were done", n, failed.Load(), done.Load())
	}
	well.Store(true)
	eventually(t, "it is called again", func() bool { return write(t, m) == nil })
	began := time.Now()
	for range 20 {
		if err := write(t, m); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("20 calls took %s after it had recovered", took)
	}
}

func TestAnAnswerToACallIsBounded(t *testing.T) {
	block := strings.Repeat("x", 64<<10)
	dense := strings.Repeat(`{"a":{}},`, 300_000)
	for name, answer := range map[string]func(w io.Writer){
		"without end": func(w io.Writer) {
			for _, err := io.WriteString(w, `{"kind":"`); err == nil; {
				_, err = io.WriteString(w, block)
			}
		},
		"dense": func(w io.Writer) { _, _ = io.WriteString(w, `{"kind":"ConfigMap","data":[`+dense+`{}]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			_, m := reachable(t, plainServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				answer(w)
			}))
			h := watchHeap()
			var wg sync.WaitGroup
			for range 32 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					if err := write(t, m); err == nil {
						t.Error("it was taken")
					}
				}()
			}
			wg.Wait()
			close(h.end)
			if n := h.grown(); n > 256 { // all of them together would be 1.4 GiB
				t.Errorf("32 calls took %d MiB", n)
			}
			t.Logf("%d MiB", h.grown())
		})
	}
}

func TestACallIsNotSentElsewhere(t *testing.T) {
	visited := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case visited <- r.Header.Get("Authorization"):
		default:
		}
	}))
	defer elsewhere.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		config := plainServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, code) })
		config.REST.BearerToken = "secret"
		f, m := reachable(t, config)
		if err := write(t, m); err == nil {
			t.Errorf("%d was taken for an answer", code)
		}
		v := m.View(configMaps)
		eventually(t, "the view tells", func() bool { return v.Err() != nil && strings.Contains(v.Err().Error(), "redirect") })
		f.Disengage("a")
	}
	select {
	case token := <-visited:
		t.Errorf("somebody else got %q", token)
	default:
	}
}
