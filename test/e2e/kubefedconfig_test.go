package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kubeFedChart is the KubeFedConfig that KubeFed v0.10's chart makes of its default values.
const kubeFedChart = `
  scope: Cluster
  controllerDuration: {availableDelay: 20s, unavailableDelay: 60s, cacheSyncTimeout: 5m}
  leaderElect: {leaseDuration: 15s, renewDeadline: 10s, retryPeriod: 5s, resourceLock: configmaps}
  clusterHealthCheck: {period: 10s, failureThreshold: 3, successThreshold: 1, timeout: 3s}
  syncController: {maxConcurrentReconciles: 1, adoptResources: Enabled}
  statusController: {maxConcurrentReconciles: 1}
  featureGates:
  - {name: PushReconciler, configuration: Enabled}
  - {name: SchedulerPreferences, configuration: Enabled}
`

// foreign makes a ConfigMap in a unit's member that the plane did not make.
func (w *tenant) foreign(unit, name string) {
	w.Helper()
	at := w.at[unit]
	u := decode(w.T, "{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+"}, data: {version: foreign}}")
	if _, err := world.inside[at[0]].Resource(configMaps).Namespace(at[1]).Create(w.Context(), u, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func TestTheKubeFedConfigOfKubeFedsChartAppliesUnchangedAndAdoptsAsItSays(t *testing.T) {
	w := newTenant(t, "config-chart", "a "+east)
	w.apply(w.config("first", "1", placed("a")))
	w.has("first", "a=1") // the member's namespace is there
	for _, name := range []string{"early", "asked"} {
		w.foreign("a", name)
	}
	w.apply(w.config("early", "1", placed("a")))
	told := func(name string) func() error {
		return func() error {
			if e := w.entry(name, "a"); e["status"] != "AlreadyExists" {
				return fmt.Errorf("status of %s is %v, want AlreadyExists", name, e)
			}
			return nil
		}
	}
	w.eventually(told("early"))
	w.keeps("early", time.Second, "a=foreign")

	out := w.settings(kubeFedChart)
	for _, idle := range []string{"spec.controllerDuration", "spec.leaderElect", "spec.statusController", "SchedulerPreferences"} {
		if !strings.Contains(out, idle) {
			t.Errorf("it is not told that %s has no effect:\n%s", idle, out)
		}
	}
	w.has("early", "a=1") // also objects that were there before the setting
	w.apply(w.config("asked", "1", placed("a")))
	w.has("asked", "a=1")

	w.settings("{scope: Cluster, syncController: {adoptResources: Disabled}}")
	w.foreign("a", "late")
	w.apply(w.config("late", "1", placed("a")))
	w.eventually(told("late"))
	w.keeps("late", time.Second, "a=foreign")
	w.apply(w.config("early", "2", placed("a"))) // what was taken over stays ours
	w.has("early", "a=2")
}

func TestSettingsThatCannotWorkAreRefusedWithTheirPaths(t *testing.T) {
	w := newTenant(t, "config-bad")
	for spec, words := range map[string][]string{
		"{scope: Namespaced}": {"spec.scope", `supported values: "Cluster"`},
		"{scope: Cluster, featureGates: [{name: PlacementMaks, configuration: Disabled}]}": {"spec.featureGates[0].name", `"PlacementMask"`, `"Topologies"`},
		"{scope: Cluster, clusterHealthCheck: {period: often}}":                            {"spec.clusterHealthCheck.period"},
		"{scope: Cluster, clusterHealthCheck: {period: 1ns}}":                              {"spec.clusterHealthCheck.period", "at least 100ms"},
		"{scope: Cluster, syncController: {maxConcurrentReconciles: 0}}":                   {"spec.syncController.maxConcurrentReconciles"},
		"{scope: Cluster, namespacePlacement: Sometimes}":                                  {"spec.namespacePlacement"},
		"{scope: Cluster, namespacePlacment: Strict}":                                      {"namespacePlacment"},
	} {
		out := w.refused("apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedConfig\nmetadata: {name: kubefed, namespace: kube-federation-system}\nspec: " + spec + "\n")
		for _, word := range words {
			if !strings.Contains(out, word) {
				t.Errorf("%s is refused without %q:\n%s", spec, word, out)
			}
		}
	}
	other := "apiVersion: core.kubefed.io/v1beta1\nkind: KubeFedConfig\nmetadata: {name: other, namespace: " + w.ns + "}\nspec: {}\n"
	if out := w.apply(other); !strings.Contains(out, "no effect unless it is kubefed in namespace kube-federation-system") {
		t.Errorf("a config that nobody reads is not warned of:\n%s", out)
	}
}

func TestMembersAreAskedForTheirHealthAsTheConfigSaysWithoutARestart(t *testing.T) {
	w := newTenant(t, "config-health")
	probes := func() float64 { return w.metric("cluster_health_status_duration_seconds_count") }
	rate := func() float64 {
		const long = 2 * time.Second
		before := probes()
		time.Sleep(long)
		return (probes() - before) / long.Seconds()
	}
	w.settings("{scope: Cluster, clusterHealthCheck: {period: 1h}}")
	rate() // what was under way
	if n := rate(); n > 0.5 {
		t.Errorf("members that are asked once an hour are asked %.1f times a second", n)
	}
	w.settings("{scope: Cluster, clusterHealthCheck: {period: 100ms}}")
	if n := rate(); n < 8 {
		t.Errorf("three members that are asked ten times a second are asked %.1f times", n)
	}
}

func TestWorkersComeAndGoWithTheConfig(t *testing.T) {
	w := newTenant(t, "config-workers", "a "+east)
	const workers = `controller_runtime_max_concurrent_reconciles{controller="federatedconfigmap"}`
	was := w.metric(workers)
	for _, n := range []int{1, 40} {
		w.settings(fmt.Sprintf("{scope: Cluster, syncController: {maxConcurrentReconciles: %d}}", n))
		w.eventually(func() error {
			if got := w.metric(workers); got != float64(n) {
				return fmt.Errorf("there may be %v workers, want %d", got, n)
			}
			return nil
		})
		name := fmt.Sprintf("web-%d", n)
		w.apply(w.config(name, "1", placed("a")))
		w.has(name, "a=1")
	}
	w.noSettings()
	w.eventually(func() error {
		if got := w.metric(workers); got != was {
			return fmt.Errorf("there may be %v workers, want %v as before", got, was)
		}
		return nil
	})
}
