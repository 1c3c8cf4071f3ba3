package conversion_test

import (
	"slices"
	"testing"
	"time"
)

// timed reports the quantiles of single calls, which is what the figure that we promise is about.
func timed(b *testing.B, f func()) {
	b.ReportAllocs()
	took := make([]time.Duration, 0, 1<<16)
	for b.Loop() {
		start := time.Now()
		f()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
