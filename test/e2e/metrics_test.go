package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
)

// scrape is the plane's /metrics, line by line.
func (w *tenant) scrape() []string {
	w.Helper()
	client, err := kubernetes.NewForConfig(world.plane.RestConfig())
	if err != nil {
		w.Fatal(err)
	}
	page, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(w.Context())
	if err != nil {
		w.Fatalf("reading /metrics: %v\n%s", err, page)
	}
	return strings.Split(string(page), "\n")
}

// metric is the value of one series; -1 = there is none.
func (w *tenant) metric(series string) float64 {
	w.Helper()
	for _, line := range w.scrape() {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				w.Fatalf("%s: %v", line, err)
			}
			return v
		}
	}
	return -1
}

// measures waits until series have these values: "series = 3", "series ≥ 1", "series none".
func (w *tenant) measures(want ...string) {
	w.Helper()
	for _, s := range want {
		w.eventually(func() error {
			if series, ok := strings.CutSuffix(s, " none"); ok {
				if v := w.metric(series); v != -1 {
					return fmt.Errorf("%s is %v, want none", series, v)
				}
				return nil
			}
			i := strings.LastIndexAny(s, "=≥")
			exact := s[i] == '='
			series, number := strings.TrimSpace(s[:i]), strings.TrimSpace(strings.TrimLeft(s[i:], "=≥"))
			value, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return err
			}
			if v := w.metric(series); exact && v != value || v < value {
				return fmt.Errorf("%s is %v, want %s", series, v, s)
			}
			return nil
		})
	}
}

func TestMetricsTellOfMembersWritesUnitsAndControllersUnderKubeFedsNamesAndOurs(t *testing.T) {
	w := newTenant(t, "metrics", "a "+east, "b "+west)
	writes := w.metric(`cellfed_member_writes_total{action="create",member="east",result="done"}`)
	w.apply(w.config("web", "1", placed("a", "b")))
	w.has("web", "a=1", "b=1")
	w.told("web", "True")
	w.apply(w.config("web", "2", placed("a", "b")+masked("a")))
	w.has("web", "a=2")
	w.told("web", "True")
	w.measures(
		`kubefedcluster_total{cluster="east",state="ready"} = 1`, `kubefedcluster_total{cluster="east",state="offline"} = 0`,
		`kubefedcluster_total{cluster="east",state="notready"} = 0`, `joined_cluster_total = 3`,
		`cluster_health_status_duration_seconds_count ≥ 3`, `cluster_client_connection_duration_seconds_count ≥ 3`,
		`join_cluster_duration_seconds_count ≥ 0`, `unjoin_cluster_duration_seconds_count ≥ 0`,
		`reconcile_federated_resources_duration_seconds_count ≥ 2`,
		`dispatch_operation_duration_seconds_count{action="create"} ≥ 2`, `dispatch_operation_duration_seconds_count{action="update"} ≥ 1`,
		`controller_runtime_reconcile_total{controller="federatedconfigmap",result="success"} ≥ 2`,
		`controller_runtime_reconcile_total{controller="federatedconfigmap",result="not_synced"} = 0`,
		`controller_runtime_reconcile_errors_total{controller="federatedconfigmap"} ≥ 0`,
		`controller_runtime_reconcile_time_seconds_count{controller="federatedconfigmap"} ≥ 2`,
		`controller_runtime_reconcile_duration_seconds_count{controller="federatedconfigmap"} ≥ 2`,
		`controller_runtime_reconcile_quantile_seconds_count{controller="federatedconfigmap"} ≥ 2`,
		`controller_runtime_max_concurrent_reconciles{controller="federatedconfigmap"} ≥ 1`,
		`controller_runtime_active_workers{controller="federatedconfigmap"} ≥ 0`,
		`controller_runtime_reconcile_total{controller="membership",result="success"} ≥ 1`,
		`workqueue_depth{name="propagation-configmaps"} ≥ 0`,
		`cellfed_federated_objects{state="as_asked",type="configmaps"} ≥ 1`, `cellfed_units{code="OK",type="configmaps"} ≥ 2`,
		`cellfed_held_units{type="configmaps"} ≥ 1`, `cellfed_propagation_duration_seconds_count{type="configmaps"} ≥ 1`,
		`cellfed_oldest_unpropagated_seconds{type="configmaps"} ≥ 0`, `cellfed_behind_units{type="configmaps"} ≥ 0`,
		fmt.Sprintf(`cellfed_member_writes_total{action="create",member="east",result="done"} ≥ %v`, max(writes, 0)+1),
		`cellfed_feature_enabled{name="PlacementMask",stage="Beta"} = 1`, `cellfed_feature_enabled{name="PropagatedVersions",stage="Alpha"} = 0`,
	)
	w.kubectl("delete", "federatedconfigmap/web", "-n", w.ns, "--timeout=20s")
	w.measures(`dispatch_operation_duration_seconds_count{action="delete"} ≥ 2`)
}

func TestMetricsHaveEachFamilyOnceAndNoNamesOfObjectsNorSecrets(t *testing.T) {
	w := newTenant(t, "metrics-labels", "a "+east)
	w.apply(w.config("tell-tale-object", "1", placed("a")))
	w.has("tell-tale-object", "a=1")
	families := map[string]int{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	known := map[string]bool{"state": true, "cluster": true, "controller": true, "result": true, "action": true, "type": true, "code": true,
		"member": true, "name": true, "stage": true, "le": true, "quantile": true}
	for _, line := range w.scrape() {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			families[strings.Fields(name)[0]]++
		}
		if strings.Contains(line, "tell-tale-object") || strings.Contains(strings.ToLower(line), "bearer") || strings.Contains(line, "eyJhbGci") {
			t.Errorf("a metric tells too much: %s", line)
		}
		if !strings.HasPrefix(line, "cellfed_") && !strings.HasPrefix(line, "controller_runtime_") && !strings.HasPrefix(line, "kubefedcluster_") && !strings.HasPrefix(line, "dispatch_") {
			continue
		}
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			if !known[m[1]] {
				t.Errorf("label %s of %s is not known to be bounded", m[1], line)
			}
		}
	}
	for name, n := range families {
		if n != 1 {
			t.Errorf("family %s is there %d times", name, n)
		}
	}
	if len(families) < 100 {
		t.Errorf("only %d families: Kubernetes' own are missing", len(families))
	}
}
