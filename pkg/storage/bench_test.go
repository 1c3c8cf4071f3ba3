package storage

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
				b.ResetTimer()
				for range clients {
					wait.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							r, err := create(b.Context(), c, fmt.Sprintf("/registry/configmaps/default/object-%08d", n), value)
							if err != nil || !r.Succeeded {
								b.Errorf("create %d: %v %v", n, r, err)
								return
							}
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
			})
		}
	}
}
