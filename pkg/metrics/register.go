package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/cellfed/cellfed/pkg/features"
)

// Register has everything served wherever the process serves Kubernetes' registry. More than once is once.
var Register = sync.OnceFunc(func() {
	Gates(features.Gates{})
	legacyregistry.Registerer().MustRegister(collectors()...)
})

// collectors are all that there is to register.
func collectors() []prometheus.Collector {
	return []prometheus.Collector{
		clusterState, joinedClusters, healthDuration, connectionTime, joinDuration, unjoinDuration,
		federatedDuration, dispatchDuration, reconcileDuration, reconcileQuantile,
		objects, units, heldUnits, behindUnits, propagationTime, oldest, memberWrites, leader, gatesOn,
		bridge{ours: []prometheus.Collector{reconcileTotal, reconcileErrors, reconcileTime, maxWorkers, activeWorkers}, theirs: ctrlmetrics.Registry},
	}
}

// controllerRuntime begins the names of what controller-runtime counts about controllers.
const controllerRuntime = "controller_runtime_"

// bridge shows the controllers of controller-runtime, and ours in the same families. One family has one help: ours, so
// that other words in a later controller-runtime do not make the whole page an error.
type bridge struct {
	ours   []prometheus.Collector
	theirs prometheus.Gatherer
}

// Describe implements prometheus.Collector. It describes nothing: what controller-runtime has is known when it is asked.
func (b bridge) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (b bridge) Collect(out chan<- prometheus.Metric) {
	for _, c := range b.ours {
		c.Collect(out)
	}
	families, err := b.theirs.Gather()
	if err != nil && len(families) == 0 {
		return // what there is of ours is better than no page at all
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), controllerRuntime) {
			continue
		}
		for _, m := range f.GetMetric() {
			out <- foreign{desc: descOf(f, m), metric: m}
		}
	}
}

// helps are the words of the families that we have a part in.
var helps = map[string]string{
	"controller_runtime_reconcile_total":           "Total number of reconciliations per controller",
	"controller_runtime_reconcile_errors_total":    "Total number of reconciliation errors per controller",
	"controller_runtime_reconcile_time_seconds":    "Length of time per reconciliation per controller",
	"controller_runtime_max_concurrent_reconciles": "Maximum number of concurrent reconciles per controller",
	"controller_runtime_active_workers":            "Number of currently used workers per controller",
}

func descOf(f *dto.MetricFamily, m *dto.Metric) *prometheus.Desc {
	var names []string
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	help := f.GetHelp()
	if h, ours := helps[f.GetName()]; ours {
		help = h
	}
	return prometheus.NewDesc(f.GetName(), help, names, nil)
}

// foreign is a metric as another registry gave it.
type foreign struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

// Desc implements prometheus.Metric.
func (f foreign) Desc() *prometheus.Desc { return f.desc }

// Write implements prometheus.Metric.
func (f foreign) Write(out *dto.Metric) error {
	out.Label, out.Gauge, out.Counter, out.Summary = f.metric.Label, f.metric.Gauge, f.metric.Counter, f.metric.Summary
	out.Untyped, out.Histogram, out.TimestampMs = f.metric.Untyped, f.metric.Histogram, f.metric.TimestampMs
	return nil
}
