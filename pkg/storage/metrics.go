package storage

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the log under the plane. Whoever serves metrics registers them.
var (
	lossesTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cellfed_storage_losses_total", Help: "How often this server found that the database had lost entries that were acknowledged.",
	})
)
