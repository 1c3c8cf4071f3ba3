package abandonment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
)

// place is a plane with one abandonment of member a, and what is left there.
type place struct {
	*testing.T
	client.Client
	ctl    *Controller
	fleet  *member.Fleet
	events *events.FakeRecorder

	mu       sync.Mutex
	found    map[types.UID]topologyv1alpha1.Leftover
	complete bool
	err      error
	looks    map[bool]int // listed → how often
	told     []string
}

func newPlace(t *testing.T, spec topologyv1alpha1.AbandonmentSpec) *place {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := topologyv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	p := &place{T: t, events: events.NewFakeRecorder(10), complete: true, looks: map[bool]int{}}
	p.Client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&topologyv1alpha1.Abandonment{}).
		WithObjects(&topologyv1alpha1.Abandonment{ObjectMeta: metav1.ObjectMeta{Name: "flood"}, Spec: spec}).Build()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p.fleet = member.NewFleet(ctx, member.Options{})
	p.ctl = New(p.Client, p.fleet, p.events, p.look, p.tell, Options{Confirm: 20 * time.Millisecond, Again: 200 * time.Millisecond, Calm: 10 * time.Millisecond})
	return p
}

func (p *place) look(_ context.Context, _ string, listed bool) (map[types.UID]topologyv1alpha1.Leftover, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks[listed]++
	out := map[types.UID]topologyv1alpha1.Leftover{}
	for uid, l := range p.found {
		out[uid] = l
	}
	return out, p.complete, p.err
}

func (p *place) tell(member, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, member+": "+message)
}

// holds says what is in the member from now on: uid=unit.
func (p *place) holds(complete bool, err error, left ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found, p.complete, p.err = map[types.UID]topologyv1alpha1.Leftover{}, complete, err
	for _, l := range left {
		uid, unit, _ := strings.Cut(l, "=")
		p.found[types.UID(uid)] = topologyv1alpha1.Leftover{Type: "configmaps", Namespace: "acme", Name: uid, Unit: unit}
	}
}

// connect makes the member one that can be reached, as a cluster of an identity.
func (p *place) connect(id string) {
	s := membertest.New(p)
	p.fleet.Engage("a", member.Config{REST: &rest.Config{Host: s.URL, BearerToken: membertest.Token, TLSClientConfig: rest.TLSClientConfig{CAData: s.CA()}}})
	p.fleet.Identify("a", id)
	p.fleet.SetReachable("a", true, "", "")
}

// becomes looks, as often as the controller asks for it, until the record's condition is as wanted.
func (p *place) becomes(status metav1.ConditionStatus, reason string, count int64) *topologyv1alpha1.Abandonment {
	p.Helper()
	var a topologyv1alpha1.Abandonment
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		result, err := p.ctl.Reconcile(p.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "flood"}})
		if err != nil {
			p.Fatal(err)
		}
		if err := p.Get(p.Context(), types.NamespacedName{Name: "flood"}, &a); err != nil {
			p.Fatal(err)
		}
		if c := meta.FindStatusCondition(a.Status.Conditions, topologyv1alpha1.AbandonmentLeftovers); c != nil && c.Status == status && c.Reason == reason && a.Status.LeftoverCount == count {
			return &a
		}
		time.Sleep(result.RequeueAfter)
	}
	p.Fatalf("the status is %+v, want %s %s %d", a.Status, status, reason, count)
	return nil
}

func TestAPlaceThatComesBackTellsWhatIsLeft(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a", ClusterID: "id-1"})
	p.becomes(metav1.ConditionUnknown, ReasonNotHeardOf, 0)
	p.holds(true, nil, "x=u", "y=u")
	p.connect("id-1")
	a := p.becomes(metav1.ConditionTrue, ReasonFound, 2)
	if len(a.Status.Leftovers) != 2 || a.Status.Leftovers[0].Name != "x" {
		t.Errorf("the leftovers are %+v", a.Status.Leftovers)
	}
	if ev := <-p.events.Events; !strings.Contains(ev, "LeftoversFound") {
		t.Errorf("the event is %q", ev)
	}
	p.holds(true, nil, "y=u")
	p.becomes(metav1.ConditionTrue, ReasonFound, 1)
	p.holds(true, nil)
	p.becomes(metav1.ConditionFalse, ReasonNothingLeft, 0)
}

func TestAPlaceThatIsBackIsNotSaidToBeAwayWhileItIsLookedAt(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a", ClusterID: "id-1"})
	p.becomes(metav1.ConditionUnknown, ReasonNotHeardOf, 0)
	p.holds(true, nil, "x=u")
	p.connect("id-1")
	p.becomes(metav1.ConditionUnknown, ReasonLooking, 0)
	p.becomes(metav1.ConditionTrue, ReasonFound, 1)
}

func TestWhatOnlyOneLookShowsIsNoLeftover(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a"})
	p.connect("")
	p.holds(true, nil, "x=u")
	p.ctl.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "flood"}}) //nolint:errcheck // the next look tells
	p.holds(true, nil, "y=u")
	time.Sleep(30 * time.Millisecond)
	p.becomes(metav1.ConditionFalse, ReasonNothingLeft, 0)
}

func TestWhatCannotBeReadIsNotSaidToBeEmpty(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a"})
	p.connect("")
	p.holds(true, nil, "x=u")
	p.becomes(metav1.ConditionTrue, ReasonFound, 1)
	p.holds(false, nil)
	p.becomes(metav1.ConditionUnknown, ReasonLooking, 1)
	p.holds(true, errors.New("no"))
	p.becomes(metav1.ConditionUnknown, ReasonLooking, 1)
	p.fleet.SetReachable("a", false, "Gone", "")
	p.becomes(metav1.ConditionUnknown, ReasonNotHeardOf, 1)
}

func TestAnotherClusterOfTheNameIsNotLookedAt(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a", ClusterID: "id-1"})
	p.holds(true, nil, "x=u")
	p.connect("id-2")
	p.becomes(metav1.ConditionUnknown, ReasonAnotherCluster, 0)
	if p.looks[true] > 0 {
		t.Error("it was looked at")
	}
}

func TestAUnitThatWasGivenUpTellsOfItsOwnCopiesOnly(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a", Unit: "u"})
	p.holds(true, nil, "x=u", "y=other")
	p.connect("")
	p.becomes(metav1.ConditionTrue, ReasonFound, 1)
}

func TestMoreThanAHundredLeftoversAreCounted(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "a"})
	var many []string
	for i := range 250 {
		many = append(many, fmt.Sprintf("x-%03d=u", i))
	}
	p.holds(true, nil, many...)
	p.connect("")
	if a := p.becomes(metav1.ConditionTrue, ReasonFound, 250); len(a.Status.Leftovers) != 100 {
		t.Errorf("%d are listed", len(a.Status.Leftovers))
	}
}

func TestMembersInGeneralAreLookedIntoThroughTheirViews(t *testing.T) {
	p := newPlace(t, topologyv1alpha1.AbandonmentSpec{Cluster: "z"})
	go func() { _ = (patrol{p.ctl}).Start(t.Context()) }()
	p.holds(true, nil, "x=u")
	p.connect("")
	last := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			p.mu.Lock()
			told := append([]string{""}, p.told...)
			p.mu.Unlock()
			if strings.HasSuffix(told[len(told)-1], want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("what was told is %q, want %q last", told, want)
			}
		}
	}
	last("1 object that the plane made is there and is kept by no federated object: configmaps acme/x; the plane never deletes them")
	p.holds(false, nil) // a view that is filled anew is no proof
	p.mu.Lock()
	n := p.looks[false]
	p.mu.Unlock()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		more := p.looks[false] > n+1
		p.mu.Unlock()
		if more {
			break
		}
	}
	last("configmaps acme/x; the plane never deletes them")
	p.holds(true, nil)
	last("a: ")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[len(p.told)-1] != "a: " || p.looks[true] > 0 {
		t.Errorf("told was %q; %d lists", p.told, p.looks[true])
	}
}
