package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// buckets are KubeFed's, of all its histograms but one.
var buckets = []float64{0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 7.5, 10, 12.5, 15, 17.5, 20, 22.5, 25, 27.5, 30, 50, 75, 100, 1000}

// reconcileBuckets are those of controller-runtime.
var reconcileBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1,
	1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60}

// KubeFed's metrics of members.
var (
	clusterState = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kubefedcluster_total", Help: "Members by name and state: 1 for the state that the member is in, 0 for the others.",
	}, []string{"state", "cluster"})
	joinedClusters = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "joined_cluster_total", Help: "How many members are joined.",
	})
	healthDuration = histogram("cluster_health_status_duration_seconds", "How long asking a member for its health takes.")
	connectionTime = histogram("cluster_client_connection_duration_seconds",
		"How long it takes from a member's configuration to its first answer.")
	joinDuration   = histogram("join_cluster_duration_seconds", "How long it takes from making a KubeFedCluster to its being ready for the first time.")
	unjoinDuration = histogram("unjoin_cluster_duration_seconds", "How long it takes from deleting a KubeFedCluster to its being gone.")
)

// KubeFed's metrics of propagation.
var (
	federatedDuration = histogram("reconcile_federated_resources_duration_seconds",
		"Deprecated by KubeFed in favour of controller_runtime_reconcile_time_seconds: how long one look at a federated object takes.")
	dispatchDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "dispatch_operation_duration_seconds", Help: "How long a write to a member takes.", Buckets: buckets,
	}, []string{"action"})
)

// Metrics of controllers, as KubeFed and controller-runtime spell them.
var (
	reconcileTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "controller_runtime_reconcile_total", Help: "Total number of reconciliations per controller",
	}, []string{"controller", "result"})
	reconcileErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "controller_runtime_reconcile_errors_total", Help: "Total number of reconciliation errors per controller",
	}, []string{"controller"})
	reconcileTime = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "controller_runtime_reconcile_time_seconds", Help: "Length of time per reconciliation per controller", Buckets: reconcileBuckets,
	}, []string{"controller"})
	maxWorkers = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "controller_runtime_max_concurrent_reconciles", Help: "Maximum number of concurrent reconciles per controller",
	}, []string{"controller"})
	activeWorkers = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "controller_runtime_active_workers", Help: "Number of currently used workers per controller",
	}, []string{"controller"})
	reconcileDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "controller_runtime_reconcile_duration_seconds", Buckets: buckets,
		Help: "Deprecated by KubeFed in favour of controller_runtime_reconcile_time_seconds: how long a reconciliation takes.",
	}, []string{"controller"})
	reconcileQuantile = prometheus.NewSummaryVec(prometheus.SummaryOpts{
		Name: "controller_runtime_reconcile_quantile_seconds", MaxAge: time.Hour,
		Help: "Deprecated by KubeFed in favour of controller_runtime_reconcile_time_seconds: how long a reconciliation takes.",
	}, []string{"controller"})
)

func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

// MemberState is a member's state, in KubeFed's words.
type MemberState string

// States of members.
const (
	MemberReady    MemberState = "ready"
	MemberNotReady MemberState = "notready"
	MemberOffline  MemberState = "offline"
)

var joined struct {
	sync.Mutex
	names map[string]bool
}

// Member tells the state of a member.
func Member(name string, state MemberState) {
	joined.Lock()
	defer joined.Unlock()
	if joined.names == nil {
		joined.names = map[string]bool{}
	}
	joined.names[name] = true
	joinedClusters.Set(float64(len(joined.names)))
	for _, s := range []MemberState{MemberReady, MemberNotReady, MemberOffline} {
		value := 0.0
		if s == state {
			value = 1
		}
		clusterState.WithLabelValues(string(s), name).Set(value)
	}
}

// MemberGone drops what is told of a member that is no more.
func MemberGone(name string) {
	joined.Lock()
	defer joined.Unlock()
	delete(joined.names, name)
	joinedClusters.Set(float64(len(joined.names)))
	clusterState.DeletePartialMatch(prometheus.Labels{"cluster": name})
	memberWrites.DeletePartialMatch(prometheus.Labels{"member": name})
}

// ForgetMembers drops the states of all members: nobody here watches over them any more. What was counted stays.
func ForgetMembers() {
	joined.Lock()
	defer joined.Unlock()
	clear(joined.names)
	joinedClusters.Set(0)
	clusterState.Reset()
}

// Probed tells how long asking a member for its health took.
func Probed(d time.Duration) { healthDuration.Observe(d.Seconds()) }

// Connected tells how long a member's first answer took.
func Connected(d time.Duration) { connectionTime.Observe(d.Seconds()) }

// MemberJoined tells how long a member took to be ready for the first time.
func MemberJoined(d time.Duration) { joinDuration.Observe(d.Seconds()) }

// MemberLeft tells how long a member took to go.
func MemberLeft(d time.Duration) { unjoinDuration.Observe(d.Seconds()) }

// Result is how a reconciliation ended, in KubeFed's words.
type Result string

// Results.
const (
	Success      Result = "success"
	Failed       Result = "error"
	NeedsRecheck Result = "needs_recheck"
	NotSynced    Result = "not_synced"
)

// Controller is the metrics of one controller that controller-runtime does not run.
type Controller struct{ name string }

// NewController begins to count for a controller. All its results are there from the start.
func NewController(name string) *Controller {
	for _, r := range []Result{Success, Failed, NeedsRecheck, NotSynced} {
		reconcileTotal.WithLabelValues(name, string(r))
	}
	reconcileErrors.WithLabelValues(name)
	activeWorkers.WithLabelValues(name)
	return &Controller{name}
}

// Workers tells how many there may be.
func (c *Controller) Workers(n int) { maxWorkers.WithLabelValues(c.name).Set(float64(n)) }

// Begin tells that a reconciliation has begun; what it returns, that it has ended.
func (c *Controller) Begin() func(result Result, took time.Duration) {
	activeWorkers.WithLabelValues(c.name).Inc()
	return func(result Result, took time.Duration) {
		activeWorkers.WithLabelValues(c.name).Dec()
		reconcileTotal.WithLabelValues(c.name, string(result)).Inc()
		if result == Failed {
			reconcileErrors.WithLabelValues(c.name).Inc()
		}
		seconds := took.Seconds()
		reconcileTime.WithLabelValues(c.name).Observe(seconds)
		reconcileDuration.WithLabelValues(c.name).Observe(seconds)
		reconcileQuantile.WithLabelValues(c.name).Observe(seconds)
		federatedDuration.Observe(seconds)
	}
}

// End drops what is told of the controller.
func (c *Controller) End() {
	of := prometheus.Labels{"controller": c.name}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		reconcileTotal, reconcileErrors, reconcileTime, maxWorkers, activeWorkers, reconcileDuration, reconcileQuantile,
	} {
		v.DeletePartialMatch(of)
	}
}
