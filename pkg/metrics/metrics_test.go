package metrics

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/cellfed/cellfed/pkg/features"
)

// life makes every metric say something.
func life() *Type {
	Gates(features.Gates{})
	Member("hz-1", MemberReady)
	Probed(time.Millisecond)
	Connected(time.Millisecond)
	MemberJoined(time.Second)
	MemberLeft(time.Second)
	Written("hz-1", "create", "done", time.Millisecond)
	c := NewController("federateddeployment")
	c.Workers(16)
	c.Begin()(Success, time.Millisecond)
	t := NewType("deployments.apps", time.Now)
	t.Changed("a/b")
	t.Set("a/b", Object{State: AsAsked, Units: map[string]int{"": 2, "Pending": 1}, Held: 1, Behind: 1})
	return t
}

// scrape is what a process serves, line by line, without comments.
func scrape(t *testing.T) []string {
	t.Helper()
	Register()
	Register()
	w := httptest.NewRecorder()
	legacyregistry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("the page is an error: %d %s", w.Code, w.Body)
	}
	return strings.Split(w.Body.String(), "\n")
}

// KubeFed's names as its v0.10 spells them, and whether they keep to Prometheus' customs.
var kubefedNames = []string{
	"kubefedcluster_total", "joined_cluster_total", "cluster_health_status_duration_seconds", "cluster_client_connection_duration_seconds",
	"reconcile_federated_resources_duration_seconds", "join_cluster_duration_seconds", "unjoin_cluster_duration_seconds",
	"dispatch_operation_duration_seconds", "controller_runtime_reconcile_duration_seconds", "controller_runtime_reconcile_quantile_seconds",
	"controller_runtime_reconcile_total", "controller_runtime_reconcile_errors_total", "controller_runtime_reconcile_time_seconds",
	"controller_runtime_max_concurrent_reconciles", "controller_runtime_active_workers",
}

func TestEveryMetricIsServedUnderItsNameOnce(t *testing.T) {
	defer life().End()
	lines := scrape(t)
	for _, name := range append(slices.Clone(kubefedNames), "cellfed_federated_objects", "cellfed_units", "cellfed_held_units", "cellfed_behind_units",
		"cellfed_propagation_duration_seconds", "cellfed_oldest_unpropagated_seconds", "cellfed_member_writes_total", "cellfed_feature_enabled",
		"go_goroutines", "process_start_time_seconds") {
		n := 0
		for _, l := range lines {
			if strings.HasPrefix(l, "# TYPE "+name+" ") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
	seen := map[string]bool{}
	for _, l := range lines {
		series, _, _ := strings.Cut(l, "} ")
		if !strings.HasPrefix(l, "#") && strings.Contains(l, "{") && seen[series] {
			t.Errorf("%s is there twice", series)
		}
		seen[series] = true
	}
}

func TestMetricsKeepToTheCustomsButForThoseThatKubeFedNamed(t *testing.T) {
	defer life().End()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// Gauges called _total: KubeFed's, and its users' dashboards know them so.
		if (p.Metric == "kubefedcluster_total" || p.Metric == "joined_cluster_total") && strings.Contains(p.Text, "_total") {
			continue
		}
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains([]string{"state", "cluster", "controller", "result", "action", "type", "code", "member", "name", "stage"}, l.GetName()) {
					t.Errorf("%s has a label %s, whose values nobody has said to be few", f.GetName(), l.GetName())
				}
			}
		}
	}
}

// value finds a line that begins so, "" = there is none.
func value(t *testing.T, series string) string {
	t.Helper()
	for _, l := range scrape(t) {
		if rest, ok := strings.CutPrefix(l, series+" "); ok {
			return rest
		}
	}
	return ""
}

func TestCountsFollowEachObjectAndEndWithTheirType(t *testing.T) {
	now := time.Unix(1000, 0)
	typ := NewType("configmaps", func() time.Time { return now })
	want := func(series ...string) {
		t.Helper()
		for _, s := range series {
			name, v, _ := strings.Cut(s, " = ")
			if got := value(t, name); got != v {
				t.Errorf("%s is %q, want %s", name, got, v)
			}
		}
	}
	typ.Changed("ns/a")
	now = now.Add(30 * time.Second)
	want(`cellfed_oldest_unpropagated_seconds{type="configmaps"} = 30`)
	typ.Set("ns/a", Object{State: NotAsAsked, Units: map[string]int{"": 1, "ClusterNotReady": 2}, Held: 1})
	typ.Set("ns/b", Object{State: OnHold, Units: map[string]int{"OnHold": 3}, Held: 3, Behind: 2})
	want(`cellfed_units{code="OK",type="configmaps"} = 1`, `cellfed_units{code="ClusterNotReady",type="configmaps"} = 2`,
		`cellfed_units{code="OnHold",type="configmaps"} = 3`, `cellfed_held_units{type="configmaps"} = 4`, `cellfed_behind_units{type="configmaps"} = 2`,
		`cellfed_federated_objects{state="not_as_asked",type="configmaps"} = 1`, `cellfed_federated_objects{state="on_hold",type="configmaps"} = 1`)
	now = now.Add(30 * time.Second)
	typ.Set("ns/a", Object{State: AsAsked, Units: map[string]int{"": 3}})
	typ.Set("ns/a", Object{State: AsAsked, Units: map[string]int{"": 3}})
	typ.Forget("ns/b")
	typ.Forget("ns/b")
	want(`cellfed_units{code="OK",type="configmaps"} = 3`, `cellfed_units{code="ClusterNotReady",type="configmaps"} = 0`,
		`cellfed_units{code="OnHold",type="configmaps"} = 0`, `cellfed_held_units{type="configmaps"} = 0`,
		`cellfed_federated_objects{state="as_asked",type="configmaps"} = 1`, `cellfed_federated_objects{state="on_hold",type="configmaps"} = 0`,
		`cellfed_propagation_duration_seconds_count{type="configmaps"} = 1`, `cellfed_propagation_duration_seconds_sum{type="configmaps"} = 60`,
		`cellfed_oldest_unpropagated_seconds{type="configmaps"} = 0`)
	typ.End()
	for _, l := range scrape(t) {
		if strings.Contains(l, `type="configmaps"`) {
			t.Errorf("the type has ended, and there is %s", l)
		}
	}
}

func TestAMemberHasOneStateAndGoesWithAllThatIsToldOfIt(t *testing.T) {
	for _, s := range []MemberState{MemberReady, MemberNotReady, MemberOffline} {
		Member("gone-1", s)
		Member("gone-1", s)
		sum := 0
		for _, state := range []MemberState{MemberReady, MemberNotReady, MemberOffline} {
			v := value(t, fmt.Sprintf("kubefedcluster_total{cluster=%q,state=%q}", "gone-1", state))
			if (v == "1") != (s == state) {
				t.Errorf("%s: %s is %s", s, state, v)
			}
			sum++
		}
	}
	Written("gone-1", "delete", "gone", time.Millisecond)
	MemberGone("gone-1")
	for _, l := range scrape(t) {
		if strings.Contains(l, "gone-1") {
			t.Errorf("the member is gone, and there is %s", l)
		}
	}
}

func TestStatesOfMembersGoWithWhoWatchesOverThemAndCountsStay(t *testing.T) {
	Member("left-1", MemberReady)
	Member("left-2", MemberOffline)
	Written("left-1", "delete", "done", time.Millisecond)
	defer MemberGone("left-1")
	ForgetMembers()
	for _, l := range scrape(t) {
		if strings.HasPrefix(l, "kubefedcluster_total{") {
			t.Errorf("nobody watches over members, and there is %s", l)
		}
	}
	if n := value(t, "joined_cluster_total"); n != "0" {
		t.Errorf("%s members are joined", n)
	}
	if n := value(t, `cellfed_member_writes_total{action="delete",member="left-1",result="done"}`); n != "1" {
		t.Errorf("%s writes are counted", n)
	}
	Member("left-2", MemberReady)
	defer MemberGone("left-2")
	if n := value(t, "joined_cluster_total"); n != "1" {
		t.Errorf("%s members are joined when it leads again", n)
	}
}

func TestControllersOfControllerRuntimeAreInTheSameFamiliesWhateverTheirHelpSays(t *testing.T) {
	other := prometheus.NewRegistry()
	theirs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "controller_runtime_reconcile_total", Help: "In other words"}, []string{"controller", "result"})
	alien := prometheus.NewGauge(prometheus.GaugeOpts{Name: "workqueue_depth", Help: "Is elsewhere already"})
	other.MustRegister(theirs, alien)
	theirs.WithLabelValues("membership", "success").Add(3)
	NewController("federatedsecret").Begin()(Failed, time.Second)
	registry := prometheus.NewRegistry()
	registry.MustRegister(bridge{ours: []prometheus.Collector{reconcileTotal}, theirs: other})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 1 {
		t.Fatalf("families are %v", families)
	}
	found := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		found[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
	}
	if found["membership success"] != 3 || found["federatedsecret error"] != 1 {
		t.Errorf("counted %v", found)
	}
}
