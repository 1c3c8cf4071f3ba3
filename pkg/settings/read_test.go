package settings

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cellfed/cellfed/pkg/features"
)

var base = Settings{Workers: 16, Health: Health{Period: 10 * time.Second, Timeout: 3 * time.Second, FailureThreshold: 3, SuccessThreshold: 1}}

// spec reads YAML as the API server does: whole numbers are int64.
func spec(t *testing.T, text string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return whole(m).(map[string]any)
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

func gates(t *testing.T, set map[string]bool) features.Gates {
	t.Helper()
	g, errs := features.Gates{}.WithAll(set)
	if len(errs) != 0 {
		t.Fatal(errs)
	}
	return g
}

func TestWhatIsNotSaidIsTheProcessesOwn(t *testing.T) {
	for _, text := range []string{"{}", "scope: Cluster", "{scope: Cluster, syncController: {}, clusterHealthCheck: {}, featureGates: []}"} {
		if got, errs := Read(spec(t, text), base, Settings{}); got != base || len(errs) != 0 {
			t.Errorf("%s reads as %+v, %v", text, got, errs)
		}
	}
	if got, errs := Read(nil, base, Settings{}); got != base || len(errs) != 0 {
		t.Errorf("no spec reads as %+v, %v", got, errs)
	}
}

// The manifest is what KubeFed v0.10's chart makes with its default values.
func TestTheConfigOfKubeFedsChartIsReadWhole(t *testing.T) {
	s := spec(t, `
scope: Cluster
controllerDuration: {availableDelay: 20s, unavailableDelay: 60s, cacheSyncTimeout: 5m}
leaderElect: {leaseDuration: 15s, renewDeadline: 10s, retryPeriod: 5s, resourceLock: configmaps}
clusterHealthCheck: {period: 20s, failureThreshold: 4, successThreshold: 2, timeout: 5s}
syncController: {maxConcurrentReconciles: 1, adoptResources: Enabled}
statusController: {maxConcurrentReconciles: 1}
featureGates:
- {name: PushReconciler, configuration: Enabled}
- {name: RawResourceStatusCollection, configuration: Disabled}
- {name: SchedulerPreferences, configuration: Enabled}
`)
	got, errs := Read(s, base, base)
	want := Settings{
		Gates: gates(t, map[string]bool{"RawResourceStatusCollection": false}), AdoptByDefault: true, Workers: 1,
		Health: Health{Period: 20 * time.Second, Timeout: 5 * time.Second, FailureThreshold: 4, SuccessThreshold: 2},
	}
	if got != want || len(errs) != 0 {
		t.Errorf("read %+v, %v; want %+v", got, errs, want)
	}
	idle := []string{"spec.controllerDuration", "spec.leaderElect", "spec.statusController", "spec.featureGates[2] (SchedulerPreferences)"}
	if got := WithoutEffect(s); !reflect.DeepEqual(got, idle) {
		t.Errorf("without effect are %v, want %v", got, idle)
	}
}

func TestAdoptionIsOffUnlessItIsAskedFor(t *testing.T) {
	for text, want := range map[string]bool{
		"{}": false, "syncController: {}": false, "syncController: {adoptResources: Disabled}": false, "syncController: {adoptResources: Enabled}": true,
	} {
		if got, _ := Read(spec(t, text), base, base); got.AdoptByDefault != want {
			t.Errorf("%s adopts: %t", text, got.AdoptByDefault)
		}
	}
}

func TestAGateThatIsNotNamedIsAsTheProcessWasToldAtItsStart(t *testing.T) {
	from := base
	from.Gates = gates(t, map[string]bool{"PlacementMask": false, "RequireTenantGrants": true})
	got, errs := Read(spec(t, "featureGates: [{name: PlacementMask, configuration: Enabled}]"), from, from)
	if want := gates(t, map[string]bool{"RequireTenantGrants": true}); got.Gates != want || len(errs) != 0 {
		t.Errorf("gates are %q, %v; want %q", got.Gates, errs, want)
	}
}

func TestAValueThatCannotBeReadLeavesWhatWasInForceAndTheOthersCount(t *testing.T) {
	last := Settings{
		Gates: gates(t, map[string]bool{"PlacementMask": false}), AdoptByDefault: true, StrictNamespaces: true, Workers: 7,
		Health: Health{Period: time.Minute, Timeout: time.Second, FailureThreshold: 9, SuccessThreshold: 8},
	}
	for _, c := range []struct {
		text, path string
		want       func(*Settings)
	}{
		{"clusterHealthCheck: {period: soon}", "spec.clusterHealthCheck.period", func(s *Settings) { s.Health.Period = last.Health.Period }},
		{"clusterHealthCheck: {period: 1ns}", "spec.clusterHealthCheck.period", func(s *Settings) { s.Health.Period = last.Health.Period }},
		{"clusterHealthCheck: {period: -5s}", "spec.clusterHealthCheck.period", func(s *Settings) { s.Health.Period = last.Health.Period }},
		{"clusterHealthCheck: {timeout: 5}", "spec.clusterHealthCheck.timeout", func(s *Settings) { s.Health.Timeout = last.Health.Timeout }},
		{"clusterHealthCheck: {failureThreshold: 0}", "spec.clusterHealthCheck.failureThreshold", func(s *Settings) { s.Health.FailureThreshold = 9 }},
		{"clusterHealthCheck: {successThreshold: 1.5}", "spec.clusterHealthCheck.successThreshold", func(s *Settings) { s.Health.SuccessThreshold = 8 }},
		{"clusterHealthCheck: [10s]", "spec.clusterHealthCheck", func(s *Settings) { s.Health = last.Health }},
		{"syncController: {maxConcurrentReconciles: 100000}", "spec.syncController.maxConcurrentReconciles", func(s *Settings) { s.Workers = 7 }},
		{"syncController: {adoptResources: yes}", "spec.syncController.adoptResources", func(s *Settings) { s.AdoptByDefault = true }},
		{"syncController: off", "spec.syncController", func(s *Settings) { s.Workers, s.AdoptByDefault = 7, true }},
		{"namespacePlacement: strict", "spec.namespacePlacement", func(s *Settings) { s.StrictNamespaces = true }},
		{"featureGates: {PlacementMask: true}", "spec.featureGates", func(s *Settings) { s.Gates = last.Gates }},
		{"featureGates: [{name: PlacementMask, configuration: on}]", "spec.featureGates[0].configuration", func(s *Settings) { s.Gates = last.Gates }},
		{"featureGates: [{name: PlacementMaks, configuration: Disabled}]", "spec.featureGates[0].name", func(*Settings) {}},
		{"featureGates: [PlacementMask]", "spec.featureGates[0].name", func(*Settings) {}},
		{"scope: Namespaced", "spec.scope", func(*Settings) {}},
		{"scope: 3", "spec.scope", func(*Settings) {}},
	} {
		// Beside the bad value stands a good one where there is room for it.
		s := spec(t, c.text)
		want := base
		if !strings.HasPrefix(c.text, "namespacePlacement") {
			s["namespacePlacement"], want.StrictNamespaces = "Strict", true
		}
		c.want(&want)
		got, errs := Read(s, base, last)
		if len(errs) != 1 || errs[0].Field != c.path {
			t.Errorf("%s: told %v, want one error at %s", c.text, errs, c.path)
		}
		if got != want {
			t.Errorf("%s reads as %+v, want %+v", c.text, got, want)
		}
	}
	if got, errs := Read("nonsense", base, last); got != last || len(errs) != 1 {
		t.Errorf("a spec that is none reads as %+v, %v; want what was", got, errs)
	}
}

func TestAnUnknownGateIsToldWithTheGatesThereAre(t *testing.T) {
	_, errs := Read(spec(t, "featureGates: [{name: PlacementMaks, configuration: Disabled}]"), base, base)
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "PlacementMask") || !strings.Contains(errs[0].Error(), "Topologies") {
		t.Errorf("told %v", errs)
	}
}

func TestAGateThatIsNamedTwiceCountsAsFirstSaid(t *testing.T) {
	got, errs := Read(spec(t, "featureGates: [{name: PlacementMask, configuration: Disabled}, {name: PlacementMask, configuration: Enabled}]"), base, base)
	if got.Gates.Enabled(features.PlacementMask) || len(errs) != 1 || errs[0].Field != "spec.featureGates[1].name" {
		t.Errorf("gates are %q, told %v", got.Gates, errs)
	}
}
