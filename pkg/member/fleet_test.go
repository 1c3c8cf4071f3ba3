package member_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
)

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	widgets    = schema.GroupVersionResource{Group: "example.org", Version: "v1", Resource: "widgets"}
	ours       = map[string]string{"kubefed.io/managed": "true"}
)

func configOf(s *membertest.Server) member.Config {
	return member.Config{REST: &rest.Config{
		Host: s.URL, BearerToken: membertest.Token, TLSClientConfig: rest.TLSClientConfig{CAData: s.CA()},
	}}
}

// recorder keeps events for a test to wait for.
type recorder struct {
	mu     sync.Mutex
	events []member.Event
}

func (r *recorder) add(ev member.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *recorder) count(ev member.Event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e == ev {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("within a minute it did not come true that %s", what)
}

func newFleet(t *testing.T) (*member.Fleet, *recorder) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	f := member.NewFleet(ctx, member.Options{RetryMin: 20 * time.Millisecond, RetryMax: 50 * time.Millisecond})
	r := &recorder{}
	f.Subscribe(r.add)
	return f, r
}

func connected(t *testing.T, f *member.Fleet, name string) *member.Member {
	t.Helper()
	m, err := f.Member(name)
	if err != nil {
		t.Fatalf("getting member %s: %v", name, err)
	}
	return m
}

func TestAMemberIsConnectedOnlyWhileItIsSaidToBeReachable(t *testing.T) {
	s := membertest.New(t)
	f, events := newFleet(t)
	if _, err := f.Member("a"); !errors.Is(err, member.ErrUnknown) {
		t.Fatalf("an unknown member gave %v", err)
	}
	f.Engage("a", configOf(s))
	var not *member.NotConnectedError
	if _, err := f.Member("a"); !errors.As(err, &not) || not.Reason != member.ReasonConnecting {
		t.Fatalf("a member nobody has heard of gave %v", err)
	}
	if f.Heard() {
		t.Fatal("the fleet says that it has heard of all members")
	}
	f.SetReachable("a", true, "", "")
	m := connected(t, f, "a")
	if m.Context().Err() != nil || !f.Heard() {
		t.Fatal("the connection is over before it began")
	}
	f.SetReachable("a", false, "ClusterNotReachable", "dial tcp: refused")
	if _, err := f.Member("a"); !errors.As(err, &not) || not.Reason != "ClusterNotReachable" || not.Message != "dial tcp: refused" {
		t.Fatalf("a lost member gave %v", err)
	}
	if !errors.As(context.Cause(m.Context()), &not) {
		t.Fatalf("the old connection ended with %v", context.Cause(m.Context()))
	}
	if _, err := m.Dynamic().Resource(configMaps).List(t.Context(), metav1.ListOptions{}); !errors.As(err, &not) {
		t.Fatalf("a call on an ended connection gave %v", err)
	}
	f.SetReachable("a", true, "", "")
	if connected(t, f, "a") == m {
		t.Fatal("the connection that ended was given out again")
	}
	f.Disengage("a")
	if _, err := f.Member("a"); !errors.Is(err, member.ErrUnknown) || len(f.Names()) != 0 {
		t.Fatalf("a disengaged member gave %v", err)
	}
	if n := events.count(member.Event{Member: "a"}); n != 5 {
		t.Fatalf("engaged, connected, lost, back and gone were %d events", n)
	}
}

func TestTheSameConfigurationKeepsTheConnectionAndAnotherReplacesIt(t *testing.T) {
	s := membertest.New(t)
	f, _ := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	m := connected(t, f, "a")
	f.Engage("a", configOf(s))
	if connected(t, f, "a") != m {
		t.Fatal("the same configuration replaced the connection")
	}
	other := configOf(s)
	other.REST.BearerToken = "another"
	f.Engage("a", other)
	if connected(t, f, "a") == m || m.Context().Err() == nil {
		t.Fatal("another token left the connection as it was")
	}
}

func TestCallsInFlightEndWhenTheMemberIsLost(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	f, _ := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	m := connected(t, f, "a")
	s.Freeze()
	done := make(chan error)
	go func() {
		_, err := m.Dynamic().Resource(configMaps).List(t.Context(), metav1.ListOptions{})
		done <- err
	}()
	eventually(t, "the call has arrived", func() bool { return s.Requests("/api/v1/configmaps") > 0 })
	f.SetReachable("a", false, "ClusterNotReachable", "")
	select {
	case err := <-done:
		var not *member.NotConnectedError
		if !errors.As(err, &not) {
			t.Fatalf("the call ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the call goes on")
	}
}

func TestAViewHoldsTheManagedObjectsAndTellsOfChanges(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	s.Put(configMaps, "ns", "one", ours)
	s.Put(configMaps, "ns", "stranger", nil)
	f, events := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	v := connected(t, f, "a").View(configMaps)
	eventually(t, "the view is synced", v.Synced)
	u, ok := v.Get("ns", "one")
	if !ok || len(v.List()) != 1 || v.Err() != nil {
		t.Fatalf("the view holds %d objects, error %v", len(v.List()), v.Err())
	}
	if u.GetManagedFields() != nil {
		t.Fatal("managedFields were kept")
	}
	synced := member.Event{Member: "a", GVR: configMaps}
	eventually(t, "the sync is told", func() bool { return events.count(synced) == 1 })
	one := member.Event{Member: "a", GVR: configMaps, Namespace: "ns", Name: "one"}
	if n := events.count(one); n != 0 {
		t.Fatalf("the first list told of single objects %d times", n)
	}
	s.Put(configMaps, "ns", "one", ours)
	s.Put(configMaps, "ns", "two", ours)
	eventually(t, "a change is told", func() bool { return events.count(one) == 1 })
	two := member.Event{Member: "a", GVR: configMaps, Namespace: "ns", Name: "two"}
	eventually(t, "a new object is told", func() bool { return events.count(two) == 1 })
	s.Delete(configMaps, "ns", "two")
	eventually(t, "a deletion is told", func() bool { return events.count(two) == 2 })
	if _, ok := v.Get("ns", "two"); ok {
		t.Fatal("a deleted object is still there")
	}
	for range 5 {
		connected(t, f, "a").View(configMaps)
	}
	if n := s.Watches(configMaps); n != 1 {
		t.Fatalf("there are %d watches of one kind", n)
	}
}

func TestAViewBeginsAnewAfterAReconnect(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	s.Put(configMaps, "ns", "one", ours)
	s.Put(configMaps, "ns", "two", ours)
	f, events := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	old := connected(t, f, "a").View(configMaps)
	eventually(t, "the view is synced", old.Synced)
	f.SetReachable("a", false, "ClusterNotReachable", "")
	if old.Synced() {
		t.Fatal("a view without a connection says it is synced")
	}
	var not *member.NotConnectedError
	if !errors.As(old.Err(), &not) {
		t.Fatalf("a view without a connection says %v", old.Err())
	}
	eventually(t, "the watch has ended", func() bool { return s.Watches(configMaps) == 0 })
	lists := s.Requests("/api/v1/configmaps")
	s.Delete(configMaps, "ns", "one")
	time.Sleep(200 * time.Millisecond)
	if n := s.Requests("/api/v1/configmaps"); n != lists {
		t.Fatalf("an unreachable member was asked %d times", n-lists)
	}
	f.SetReachable("a", true, "", "")
	eventually(t, "the view of the new connection starts by itself and is told", func() bool {
		return events.count(member.Event{Member: "a", GVR: configMaps}) == 2
	})
	fresh := connected(t, f, "a").View(configMaps)
	if _, ok := fresh.Get("ns", "one"); ok || !fresh.Synced() || len(fresh.List()) != 1 {
		t.Fatal("the new view serves old truth")
	}
}

func TestAKindThatAMemberLacksIsNoticedAndNoticedAgainWhenItComes(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	f, events := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	m := connected(t, f, "a")
	v, other := m.View(widgets), m.View(configMaps)
	var lacks *member.LacksKindError
	eventually(t, "the view says that the kind is lacking", func() bool { return errors.As(v.Err(), &lacks) })
	eventually(t, "another kind is synced", other.Synced)
	told := events.count(member.Event{Member: "a", GVR: widgets})
	if told != 1 || v.Synced() {
		t.Fatalf("told %d times", told)
	}
	if _, err := m.Kind(t.Context(), widgets); !errors.As(err, &lacks) {
		t.Fatalf("discovery says %v", err)
	}
	s.Serve(widgets, "Widget")
	s.Put(widgets, "ns", "one", ours)
	eventually(t, "the kind is noticed", v.Synced)
	if _, ok := v.Get("ns", "one"); !ok || v.Err() != nil {
		t.Fatalf("the view is not healthy: %v", v.Err())
	}
	if r, err := m.Kind(t.Context(), widgets); err != nil || r.Kind != "Widget" {
		t.Fatalf("discovery says %v, %v", r, err)
	}
	s.Drop(widgets)
	eventually(t, "the loss of the kind is noticed", func() bool { return !v.Synced() && errors.As(v.Err(), &lacks) })
	if n := events.count(member.Event{Member: "a", GVR: widgets}); n < 3 {
		t.Fatalf("lacking, there and lacking again were told %d times", n)
	}
}

func TestAForbiddenKindSaysSoAndLeavesTheOthersAlone(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	s.Serve(widgets, "Widget")
	s.Forbid(widgets, true)
	f, _ := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	m := connected(t, f, "a")
	var forbidden *member.ForbiddenError
	v, other := m.View(widgets), m.View(configMaps)
	eventually(t, "the view says that it may not read", func() bool { return errors.As(v.Err(), &forbidden) })
	eventually(t, "another kind is synced", other.Synced)
	s.Forbid(widgets, false)
	eventually(t, "the permission is noticed", v.Synced)
}

func TestRefusedCredentialsAndLostConnectionsRaiseSuspicion(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	f, _ := newFleet(t)
	suspected := make(chan string, 100)
	f.OnSuspicion(func(name string) {
		select {
		case suspected <- name:
		default:
		}
	})
	bad := configOf(s)
	bad.REST.BearerToken = "expired"
	f.Engage("bad", bad)
	f.SetReachable("bad", true, "", "")
	v := connected(t, f, "bad").View(configMaps)
	var unauthorized *member.UnauthorizedError
	eventually(t, "the view says that the credentials are refused", func() bool { return errors.As(v.Err(), &unauthorized) })
	if name := <-suspected; name != "bad" {
		t.Fatalf("%s was suspected", name)
	}
	f.Disengage("bad")
	f.Engage("dies", configOf(s))
	f.SetReachable("dies", true, "", "")
	v = connected(t, f, "dies").View(configMaps)
	eventually(t, "the view is synced", v.Synced)
	for len(suspected) > 0 {
		<-suspected
	}
	s.CloseClientConnections()
	s.Listener.Close()
	select {
	case name := <-suspected:
		if name != "dies" {
			t.Fatalf("%s was suspected", name)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was suspected")
	}
}

func TestStopViewsEndsTheWatchOfOneKind(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	s.Serve(widgets, "Widget")
	f, _ := newFleet(t)
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	m := connected(t, f, "a")
	v, other := m.View(widgets), m.View(configMaps)
	eventually(t, "both watches run", func() bool { return s.Watches(widgets) == 1 && s.Watches(configMaps) == 1 })
	f.StopViews(widgets)
	eventually(t, "the watch has ended", func() bool { return s.Watches(widgets) == 0 })
	if v.Synced() || !other.Synced() {
		t.Fatal("the wrong view was stopped")
	}
	if again := m.View(widgets); again == v {
		t.Fatal("a stopped view was given out again")
	}
}

func TestEverythingEndsWithTheFleet(t *testing.T) {
	s := membertest.New(t)
	s.Serve(configMaps, "ConfigMap")
	ctx, cancel := context.WithCancel(t.Context())
	f := member.NewFleet(ctx, member.Options{})
	f.Engage("a", configOf(s))
	f.SetReachable("a", true, "", "")
	v := connected(t, f, "a").View(configMaps)
	eventually(t, "the view is synced", v.Synced)
	cancel()
	eventually(t, "the watch has ended", func() bool { return s.Watches(configMaps) == 0 })
	var not *member.NotConnectedError
	eventually(t, "the member is not connected", func() bool {
		_, err := f.Member("a")
		return errors.As(err, &not)
	})
}
