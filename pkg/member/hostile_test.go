package member_test

import (
	"context"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// impatient is a fleet whose times are short.
func impatient(t *testing.T) (*member.Fleet, *recorder) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	f := member.NewFleet(ctx, member.Options{MemoryPerMember: 16 << 20,
		RetryMin: 50 * time.Millisecond, RetryMax: 400 * time.Millisecond, HeaderTimeout: 300 * time.Millisecond,
		ListTimeout: 4 * time.Second, EventTimeout: 200 * time.Millisecond, Calm: 2 * time.Second,
	})
	f.Expect(configMaps, member.Expectation{Kind: "ConfigMap", Namespaced: true})
	r := &recorder{}
	f.Subscribe(r.add)
	return f, r
}

// heap samples how much memory objects take, at most, until stopped.
type heap struct {
	most atomic.Uint64
	base uint64
	end  chan struct{}
}

func heapNow() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func watchHeap() *heap {
	runtime.GC()
	h := &heap{base: heapNow(), end: make(chan struct{})}
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-h.end:
				tick.Stop()
				return
			case <-tick.C:
				if n := heapNow(); n > h.most.Load() {
					h.most.Store(n)
				}
			}
		}
	}()
	return h
}

func (h *heap) grown() int { return (int(h.most.Load()) - int(h.base)) >> 20 }

func (r *recorder) of(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Member == name {
			n++
		}
	}
	return n
}

// says is what a view must say of each fault, one of several where that depends on how fast the machine is; "" = nothing
// is wrong with what it shows.
var says = map[string]string{
	"429, come at once":                   "asked to be left alone",
	"429, come tomorrow":                  "asked to be left alone",
	"500":                                 "no ",
	"the kind is lacking":                 "does not serve",
	"503, come at once":                   "unable to handle",
	"no answer":                           "timeout awaiting response headers",
	"one byte a second":                   "not complete within",
	"a redirect":                          "redirect (307)",
	"a giant header":                      "PROTOCOL_ERROR",
	"a page of HTML":                      "no JSON",
	"bytes without end":                   "longer than",
	"pages without end":                   "MiB",
	"a list without end":                  "MiB",
	"strangers without end":               "", // see below
	"the same page again":                 "again and again",
	"a dense object":                      "MiB of memory",
	"an object of another kind":           "v1 Secret",
	"an object without a name":            "without a name",
	"an object without a UID":             "without a UID",
	"labels that are no words":            "no words",
	"an object that is none":              "no JSON",
	"half a list":                         "cut off",
	"another sort of answer":              "instead of a list",
	"a watch that ends at once":           "",
	"a watch that expired at once":        "too old",
	"a watch back in time":                "back in time",
	"the same event without end":          "",
	"changes without end":                 "",
	"new objects without end":             "", // see below
	"events of another kind":              "v1 Secret",
	"events that are none":                "no JSON",
	"an event without end":                "longer than|not complete within",
	"half an event":                       "not complete within",
	"events of no type":                   "type CHANGED",
	"a bookmark without a version":        "without a resource version",
	"writes answered with another object": "",
	"writes answered without end":         "",
	"writes answered with nonsense":       "",
	"writes refused":                      "",
}

func saysOne(text, of string) bool {
	return slices.ContainsFunc(strings.Split(of, "|"), func(words string) bool { return strings.Contains(text, words) })
}

func TestABadMemberCostsItsOwnViewAndNothingElse(t *testing.T) {
	for _, fault := range membertest.Faults() {
		t.Run(fault.Name, func(t *testing.T) {
			want, known := says[fault.Name]
			if !known {
				t.Fatal("nobody has said what the view must say")
			}
			heavy := strings.HasSuffix(fault.Name, "without end") || strings.HasPrefix(fault.Name, "a dense")
			if !heavy {
				t.Parallel()
			}
			bad, good := membertest.New(t), membertest.New(t)
			bad.Serve(configMaps, "ConfigMap")
			good.Serve(configMaps, "ConfigMap")
			bad.Hostile.Set(fault)
			h := &heap{end: make(chan struct{})}
			if heavy { // these alone, one after the other: what they take is measured
				h = watchHeap()
				defer close(h.end)
			}
			f, events := impatient(t)
			for name, s := range map[string]*membertest.Server{"bad": bad, "good": good} {
				f.Engage(name, configOf(s))
				f.SetReachable(name, true, "", "")
			}
			v, other := connected(t, f, "bad").View(configMaps), connected(t, f, "good").View(configMaps)
			switch {
			case strings.HasSuffix(fault.Name, "without end") && want == "" && !strings.Contains(fault.Name, "writes"):
				time.Sleep(2 * time.Second) // what never ends must not be waited for
			case want == "":
				eventually(t, "the view is synced", v.Synced)
			default:
				eventually(t, "the view says "+want, func() bool { return v.Err() != nil && saysOne(v.Err().Error(), want) })
				if v.Synced() || len(v.List()) != 0 {
					t.Errorf("a view that cannot be believed shows %d objects", len(v.List()))
				}
			}
			eventually(t, "the other member's view is synced", other.Synced)
			before, told := bad.Hostile.Requests(), events.of("bad")
			began := time.Now()
			good.Put(configMaps, "ns", "one", ours)
			eventually(t, "the other member's change is told", func() bool { return events.of("good") > 2 })
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the other member's change was told after %s", took)
			}
			time.Sleep(time.Until(began.Add(time.Second)))
			after := bad.Hostile.Requests()
			if n := after["list"] + after["watch"] - before["list"] - before["watch"]; n > 25 { // pauses are a hundredth of what they are outside tests
				t.Errorf("the bad member was asked %d times in a second: %v", n, after)
			}
			if n := events.of("bad") - told; n > 10 && fault.Name != "new objects without end" {
				t.Errorf("the bad member made the plane look %d times in a second", n)
			}
			if n := h.grown(); heavy && n > 96 {
				t.Errorf("the bad member took %d MiB", n)
			}
			if v.Err() != nil && len(v.Err().Error()) > 1200 {
				t.Errorf("the view says %d characters", len(v.Err().Error()))
			}
			t.Logf("%d MiB, %v, events %d: %v", h.grown(), after, events.of("bad"), v.Err())
		})
	}
}
