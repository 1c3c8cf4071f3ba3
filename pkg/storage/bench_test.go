package storage

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCreate creates keys of 1 KiB through the etcd client. BENCHMARK.md
// keeps the figures.
func BenchmarkCreate(b *testing.B) {
	value := strings.Repeat("v", 1024)
	for _, synchronous := range []string{"full", "normal"} {
		for _, clients := range []int{1, 16, 32} {
			b.Run(fmt.Sprintf("synchronous=%s/clients=%d", synchronous, clients), func(b *testing.B) {
				s := serve(b, databaseIn(b.TempDir())+"?synchronous="+synchronous)
				c := client(b, s)
				if _, err := create(b.Context(), c, "/warm", value); err != nil {
					b.Fatal(err)
				}
				var next atomic.Int64
				var wait sync.WaitGroup
				took := make([]time.Duration, b.N)
				b.ResetTimer()
				for range clients {
					wait.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							began := time.Now()
							r, err := create(b.Context(), c, fmt.Sprintf("/registry/configmaps/default/object-%08d", n), value)
							if err != nil || !r.Succeeded {
								b.Errorf("create %d: %v %v", n, r, err)
								return
							}
							took[n-1] = time.Since(began)
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}
