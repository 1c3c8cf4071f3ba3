package conversion_test

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// timed reports the quantiles of single calls: by the clock, and by the processor time of the calling thread. On a
// machine that others use too, the first one tells mostly when they were running. It keeps some memory, so that garbage
// is collected as rarely as in a plane and not every few calls, as with a heap of nothing but this.
func timed(b *testing.B, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	ballast := make([]byte, 100<<20)
	defer runtime.KeepAlive(ballast)
	wall := make([]time.Duration, 0, 1<<16)
	busy := make([]time.Duration, 0, 1<<16)
	for b.Loop() {
		start, used := time.Now(), processorTime(b)
		f()
		busy = append(busy, processorTime(b)-used)
		wall = append(wall, time.Since(start))
	}
	for name, took := range map[string][]time.Duration{"": wall, "-cpu": busy} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50"+name+"-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99"+name+"-µs")
	}
}

func processorTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
