package hub

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a hub. Members are the only label whose values users choose.
type metrics struct {
	agents, streams, expiry *prometheus.GaugeVec
	dials, refused          *prometheus.CounterVec
	bytes, stalled          *prometheus.CounterVec
	strays                  prometheus.Counter
	latency                 prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "cellfed", Subsystem: "tunnel", Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "cellfed", Subsystem: "tunnel", Name: name, Help: help}, labels)
	}
	m := &metrics{
		agents:  gauge("agents", "Agents that are connected.", "member"),
		streams: gauge("streams", "Streams that agents hold open.", "member", "lane"),
		expiry:  gauge("certificate_expiry_timestamp_seconds", "When the first of the certificates of a member's connected agents ends.", "member"),
		dials:   counter("dials_total", "Dials through tunnels, by how they ended.", "result"),
		refused: counter("refused_total", "Agents and clients that were refused, and streams that were ended for what they sent.", "reason"),
		bytes:   counter("bytes_total", "Bytes that tunnels carried, in from members and out to them.", "direction", "lane"),
		stalled: counter("stalled_connections_total", "Connections that were ended because they were read too slowly.", "lane"),
		strays: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "cellfed", Subsystem: "tunnel", Name: "stray_packets_total",
			Help: "Packets of agents that belonged to no connection."}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "cellfed", Subsystem: "tunnel", Name: "dial_duration_seconds",
			Help: "How long dials took that succeeded.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
	}
	if r != nil {
		r.MustRegister(m.agents, m.streams, m.expiry, m.dials, m.refused, m.bytes, m.stalled, m.strays, m.latency)
	}
	return m
}

func (m *metrics) dialled(err error, took time.Duration) {
	var (
		none    *NoAgentError
		revoked *RevokedError
		refused *RefusedError
		slow    *SlowAgentError
	)
	result := "cancelled"
	switch {
	case err == nil:
		result = "ok"
		m.latency.Observe(took.Seconds())
	case errors.As(err, &none), errors.As(err, &revoked):
		result = "no_agent"
	case errors.As(err, &refused):
		result = "refused"
	case errors.As(err, &slow), errors.Is(err, context.DeadlineExceeded):
		result = "timeout"
	case errors.Is(err, errGone), errors.Is(err, errMany), errors.Is(err, errClosing):
		result = "agent_lost"
	}
	m.dials.WithLabelValues(result).Inc()
}

func (m *metrics) forget(member string) {
	for _, v := range []*prometheus.GaugeVec{m.agents, m.streams, m.expiry} {
		v.DeletePartialMatch(prometheus.Labels{"member": member})
	}
}

// tellAgain is how long the same refusal of the same address is not told again.
const tellAgain = time.Minute

// maxTold bounds what is remembered.
const maxTold = 1024

// told tells refusals, each once in a while.
type told struct {
	log logr.Logger

	mu   sync.Mutex
	when map[string]time.Time
}

func newTold(log logr.Logger) *told { return &told{log: log, when: map[string]time.Time{}} }

func (t *told) once(reason string, remote net.Addr, message string) {
	from := ""
	if remote != nil {
		from = remote.String()
		if host, _, err := net.SplitHostPort(from); err == nil {
			from = host
		}
	}
	now := time.Now()
	key := reason + " " + from
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.when[key]) < tellAgain {
		return
	}
	if len(t.when) >= maxTold {
		clear(t.when)
	}
	t.when[key] = now
	t.log.Info("Refused", "reason", reason, "from", from, "message", message)
}
