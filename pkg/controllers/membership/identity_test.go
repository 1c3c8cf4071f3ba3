package membership

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/member"
	"github.com/cellfed/cellfed/pkg/member/membertest"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

const isChanged = "Ready=False ClusterChanged, Offline=False ClusterReachable"

func (p *plane) pinned(name string) string {
	return p.status(name).Annotations[wellknown.ClusterIDAnnotation]
}

// fleetWatched has look called whenever a member comes or goes, until the test ends.
func (p *plane) fleetWatched(look func()) {
	p.Cleanup(p.fleet.Subscribe(func(member.Event) { look() }))
}

// change edits a member as a user would, and has it looked at.
func (p *plane) change(name string, edit func(*corev1beta1.KubeFedCluster)) {
	p.Helper()
	for {
		c := p.status(name)
		edit(&c)
		if err := p.Update(p.Context(), &c); err == nil {
			break
		}
	}
	p.reconcile(p.Context(), name)
}

func TestAMemberIsServedOnlyAfterWhoItIsWasRecorded(t *testing.T) {
	s := membertest.New(t)
	s.SetIdentity("cluster-1")
	p := newPlane(t)
	p.fleetWatched(func() {
		if _, err := p.fleet.Member("a"); err == nil && p.pinned("a") != "cluster-1" {
			t.Error("the member was connected while nobody had recorded who it is")
		}
	})
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	if got := p.pinned("a"); got != "cluster-1" {
		t.Fatalf("the recorded identity is %q", got)
	}
}

func TestAnotherClusterUnderAMembersEndpointIsNotServed(t *testing.T) {
	first, second := membertest.New(t), membertest.New(t)
	for _, s := range []*membertest.Server{first, second} {
		s.Serve(configMaps, "ConfigMap")
	}
	p := newPlane(t)
	p.register("a", first.URL, first.CA(), membertest.Token)
	p.becomes("a", isReady)
	m, err := p.fleet.Member("a")
	if err != nil {
		t.Fatal(err)
	}
	p.eventually("the member is read", m.View(configMaps).Synced)

	second.Freeze() // so that whom it leads to is not known for a while
	p.change("a", func(c *corev1beta1.KubeFedCluster) { c.Spec.APIEndpoint, c.Spec.CABundle = second.URL, second.CA() })
	p.eventually("the new endpoint is asked", func() bool { return second.Requests("/healthz") > 0 })
	time.Sleep(200 * time.Millisecond)
	if n := second.Requests("/api/v1/configmaps"); n != 0 {
		t.Errorf("%d reads reached a cluster that nobody knew", n)
	}
	second.Thaw()
	p.becomes("a", isChanged)
	message := *find(p.status("a").Status.Conditions, "Ready").Message
	for _, want := range []string{"uid-of-" + strings.TrimPrefix(first.URL, "https://"), "uid-of-" + strings.TrimPrefix(second.URL, "https://"), "cellfed.io/member-uid", "abandon"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message does not say %s: %s", want, message)
		}
	}
	if _, err := p.fleet.Member("a"); err == nil {
		t.Error("the fleet serves the other cluster")
	}
	time.Sleep(300 * time.Millisecond)
	if n := second.Requests("/api/v1/configmaps"); n != 0 {
		t.Errorf("%d reads reached the other cluster", n)
	}
	// Back again: all is well. And with the record gone, the other one is the member.
	p.change("a", func(c *corev1beta1.KubeFedCluster) { c.Spec.APIEndpoint, c.Spec.CABundle = first.URL, first.CA() })
	p.becomes("a", isReady)
	p.change("a", func(c *corev1beta1.KubeFedCluster) { c.Spec.APIEndpoint, c.Spec.CABundle = second.URL, second.CA() })
	p.becomes("a", isChanged)
	p.change("a", func(c *corev1beta1.KubeFedCluster) { delete(c.Annotations, wellknown.ClusterIDAnnotation) })
	p.becomes("a", isReady)
	if got := p.pinned("a"); got != "uid-of-"+strings.TrimPrefix(second.URL, "https://") {
		t.Errorf("the recorded identity is %q", got)
	}
}

func TestAnotherClusterBehindTheSameEndpointIsNoticedWhenSomethingBreaks(t *testing.T) {
	s := membertest.New(t)
	s.SetIdentity("cluster-1")
	p := newPlane(t)
	p.ctl.opts.Load().Period = time.Hour
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	s.SetIdentity("cluster-2")
	p.fleet.Suspect("a")
	p.becomes("a", isChanged)
	s.SetIdentity("cluster-1")
	p.becomes("a", isReady)
}

func TestAMemberThatMayNotBeAskedWhoItIsIsServedAndThatIsTold(t *testing.T) {
	s := membertest.New(t)
	s.SetIdentity("")
	p := newPlane(t)
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady+", Identified=False IdentityUnknown")
	if _, err := p.fleet.Member("a"); err != nil {
		t.Fatal(err)
	}
}

func TestTwoMembersThatAreOneClusterAreTold(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	p.register("b", s.URL, s.CA(), membertest.Token)
	p.becomes("b", isReady+", Identified=False JoinedTwice")
	b := p.status("b")
	if got := p.ctl.twinsOf(t.Context(), &b); len(got) != 1 || got[0].Name != "a" {
		t.Fatalf("the same cluster as b is %v, want a", got)
	}
	p.reconcile(t.Context(), "a")
	p.becomes("a", isReady+", Identified=False JoinedTwice")
}

func TestAMemberInUseGoesWhenNothingIsLeftInIt(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	var left atomic.Bool
	left.Store(true)
	p.ctl.opts.Load().InUse = func(context.Context, string) (bool, string, error) { return left.Load(), "unit x", nil }
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	c := p.status("a")
	if err := p.Delete(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	p.eventually("who holds it is told", func() bool {
		p.reconcile(t.Context(), "a")
		held := find(p.status("a").Status.Conditions, TypeRemovable)
		return held != nil && strings.Contains(*held.Message, "unit x")
	})
	if _, err := p.fleet.Member("a"); err != nil {
		t.Fatalf("a member that is being deleted and holds copies is served, so that they can be removed: %v", err)
	}
	left.Store(false)
	p.reconcile(t.Context(), "a")
	p.reconcile(t.Context(), "a")
	if _, err := p.fleet.Member("a"); err == nil {
		t.Fatal("it is still a member")
	}
}

func TestLeftoversStayToldUntilSomebodyLooksAgain(t *testing.T) {
	s := membertest.New(t)
	p := newPlane(t)
	p.register("a", s.URL, s.CA(), membertest.Token)
	p.becomes("a", isReady)
	p.ctl.TellLeftovers("a", "one object")
	p.becomes("a", isReady+", Leftovers=True Found")
	again := newPlane(t) // another life of the plane
	again.Client = p.Client
	again.ctl.client = p.Client
	again.reconcile(t.Context(), "a")
	again.eventually("the member is connected again", func() bool { _, err := again.fleet.Member("a"); return err == nil })
	again.becomes("a", isReady+", Leftovers=True Found")
	again.ctl.TellLeftovers("a", "")
	again.becomes("a", isReady)
}
