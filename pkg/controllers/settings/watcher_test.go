package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/yaml"

	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/settings"
)

var gvr = schema.GroupVersionResource{Group: "core.kubefed.io", Version: "v1beta1", Resource: "kubefedconfigs"}

var base = settings.Settings{Workers: 16, Health: settings.Health{Period: 10 * time.Second, Timeout: 3 * time.Second, FailureThreshold: 3, SuccessThreshold: 1}}

type plane struct {
	*testing.T
	client *fake.FakeDynamicClient
	live   *Live
	events *events.FakeRecorder
	w      *Watcher
	// versions: the fake has none of its own.
	versions int
}

func config(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	text := "apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedConfig\nmetadata: {name: kubefed, namespace: kube-federation-system, generation: 1}\nspec: " + spec
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = u.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func newPlane(t *testing.T, there ...runtime.Object) *plane {
	t.Helper()
	p := &plane{T: t, live: NewLive(base), events: events.NewFakeRecorder(100)}
	p.client = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{gvr: "KubeFedConfigList"}, there...)
	var err error
	if p.w, err = NewWatcher(p.live, p.client, p.events); err != nil {
		t.Fatal(err)
	}
	return p
}

// run keeps the settings until the test ends.
func (p *plane) run() {
	ctx, cancel := context.WithCancel(p.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := p.w.Start(ctx); err != nil {
			p.Error(err)
		}
	})
	p.Cleanup(func() { cancel(); done.Wait() })
}

func (p *plane) put(spec string) {
	p.Helper()
	u := config(p.T, spec)
	p.versions++
	u.SetResourceVersion(fmt.Sprint(p.versions))
	configs := p.client.Resource(gvr).Namespace("kube-federation-system")
	old, err := configs.Get(p.Context(), "kubefed", metav1.GetOptions{})
	if err == nil {
		u.SetGeneration(old.GetGeneration() + 1)
		if old.Object["status"] != nil {
			u.Object["status"] = old.Object["status"]
		}
		_, err = configs.Update(p.Context(), u, metav1.UpdateOptions{})
	} else {
		_, err = configs.Create(p.Context(), u, metav1.CreateOptions{})
	}
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plane) eventually(what string, holds func() bool) {
	p.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("not in time: %s; settings are %+v", what, p.live.Current())
		}
	}
}

// accepted is the condition as it is stored: status and message.
func (p *plane) accepted() string {
	u, err := p.client.Resource(gvr).Namespace("kube-federation-system").Get(p.Context(), "kubefed", metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		m := c.(map[string]any)
		if m["type"] == "Accepted" {
			return fmt.Sprint(m["status"], " ", m["message"])
		}
	}
	return ""
}

func TestWithoutAConfigTheProcessesOwnSettingsAreInForce(t *testing.T) {
	p := newPlane(t)
	if err := p.w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.live.Current() != base {
		t.Errorf("settings are %+v", p.live.Current())
	}
}

func TestTheConfigIsInForceBeforeAnythingRuns(t *testing.T) {
	p := newPlane(t, config(t, "{scope: Cluster, featureGates: [{name: PlacementMask, configuration: Disabled}]}"))
	if err := p.w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.live.Gates().Enabled(features.PlacementMask) {
		t.Error("the gate is on")
	}
}

func TestAConfigThatCannotBeReadKeepsEverythingWaiting(t *testing.T) {
	p := newPlane(t, config(t, "{scope: Cluster, syncController: {adoptResources: Enabled}}"))
	var mu sync.Mutex
	failures := 1
	p.client.PrependReactor("get", "kubefedconfigs", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		failures--
		if failures >= 0 {
			return true, nil, errors.New("the database is away")
		}
		return false, nil, nil
	})
	if err := p.w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.live.AdoptByDefault() {
		t.Error("it did not wait for what the config says")
	}
}

func TestChangesAreTakenLiveAndToldAndADeletedConfigIsNone(t *testing.T) {
	p := newPlane(t)
	var mu sync.Mutex
	var heard []string
	p.live.Subscribe(func(before, now settings.Settings) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, fmt.Sprintf("%d→%d", before.Workers, now.Workers))
	})
	p.run()
	p.put("{scope: Cluster, syncController: {maxConcurrentReconciles: 4}, leaderElect: {retryPeriod: 5s}}")
	p.eventually("four workers", func() bool { return p.live.Workers() == 4 })
	p.eventually("accepted", func() bool { return strings.HasPrefix(p.accepted(), "True ") })
	if got := p.accepted(); !strings.Contains(got, "without effect here: spec.leaderElect") {
		t.Errorf("condition Accepted is %q", got)
	}
	p.put("{scope: Cluster, namespacePlacement: Strict}")
	p.eventually("strict", func() bool { return p.live.StrictNamespaces() && p.live.Workers() == 16 })
	if err := p.client.Resource(gvr).Namespace("kube-federation-system").Delete(t.Context(), "kubefed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.eventually("as without config", func() bool { return p.live.Current() == base })
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"16→4", "4→16", "16→16"}; !slices.Equal(heard, want) {
		t.Errorf("listeners heard %v, want %v", heard, want)
	}
}

func TestGarbledValuesLeaveTheLastGoodOnesAndAreTold(t *testing.T) {
	p := newPlane(t)
	p.run()
	p.put("{scope: Cluster, clusterHealthCheck: {period: 30s}, featureGates: [{name: PlacementMask, configuration: Disabled}]}")
	p.eventually("first", func() bool { return p.live.Current().Health.Period == 30*time.Second })
	p.put(`{scope: Cluster, clusterHealthCheck: {period: {seconds: 5}, timeout: 1s}, featureGates: [{name: PlacementMask, configuration: maybe}]}`)
	p.eventually("the good value", func() bool { return p.live.Current().Health.Timeout == time.Second })
	if now := p.live.Current(); now.Health.Period != 30*time.Second || now.Gates.Enabled(features.PlacementMask) {
		t.Errorf("what was in force did not stay: %+v", now)
	}
	p.eventually("told", func() bool {
		got := p.accepted()
		return strings.HasPrefix(got, "False ") && strings.Contains(got, "spec.clusterHealthCheck.period") && strings.Contains(got, "spec.featureGates[0].configuration")
	})
	select {
	case e := <-p.events.Events:
		if !strings.Contains(e, ReasonInvalid) || !strings.Contains(e, "period") {
			t.Errorf("event is %q", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("no event tells of it")
	}
	p.put("{scope: Cluster}")
	p.eventually("good again", func() bool { return p.live.Current() == base && strings.HasPrefix(p.accepted(), "True ") })
}

func TestWithNothingChangingTheConfigIsNotWritten(t *testing.T) {
	p := newPlane(t)
	p.run()
	p.put("{scope: Cluster}")
	p.eventually("accepted", func() bool { return strings.HasPrefix(p.accepted(), "True ") })
	// Its own write comes back as an event; another look must find nothing to say.
	before := 0
	p.eventually("rest", func() bool {
		n := patches(p.client.Actions())
		rest := n == before && n > 0
		before = n
		p.w.changed <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		return rest
	})
	if n := patches(p.client.Actions()); n != 1 {
		t.Errorf("status was written %d times, want once", n)
	}
	// The API server gives what was written another version, as any other write does.
	configs := p.client.Resource(gvr).Namespace("kube-federation-system")
	u, err := configs.Get(t.Context(), "kubefed", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u.SetResourceVersion("1000")
	if _, err := configs.Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.eventually("the watch shows it", func() bool {
		raw, there, err := p.w.informer.GetStore().GetByKey("kube-federation-system/kubefed")
		return err == nil && there && raw.(*unstructured.Unstructured).GetResourceVersion() == "1000"
	})
	p.w.changed <- struct{}{}
	time.Sleep(50 * time.Millisecond)
	if n := patches(p.client.Actions()); n != 1 {
		t.Errorf("status that says all was written again, %d times in all", n)
	}
}

func patches(actions []clienttesting.Action) int {
	n := 0
	for _, a := range actions {
		if a.GetVerb() == "patch" {
			n++
		}
	}
	return n
}
