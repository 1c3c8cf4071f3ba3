package kms

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Names of metrics that others read.
const (
	// MetricPending is 1 while new objects are not encrypted with the key that the plugin says is its current one.
	MetricPending = "cellfed_kms_key_pending"
	metricUp      = "cellfed_kms_up"
)

var (
	up = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: metricUp, Help: "1 when the KMS plugin answered that it is well, else 0.", StabilityLevel: metrics.ALPHA,
	}, []string{"provider"})
	pending = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: MetricPending, Help: "1 while new objects are not encrypted with the plugin's current key, else 0.", StabilityLevel: metrics.ALPHA,
	}, []string{"provider"})
)

func init() { legacyregistry.MustRegister(up, pending) }

// tell sets the metrics, with mu held.
func (p *plugin) tell() {
	up.WithLabelValues(p.client.name).Set(number(p.failure == nil))
	pending.WithLabelValues(p.client.name).Set(number(p.used == "" || p.used != p.current))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
