package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/cellfed/cellfed/test/harness"
)

type bench struct {
	objects, rate int
	long, idle    time.Duration

	plane   *harness.Plane
	members *harness.MemberSet
	onPlane dynamic.Interface
	inside  []dynamic.Interface
	sight   *sight
	number  atomic.Int64
	turns   [256]sync.Mutex
}

func (b *bench) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	if b.sight, err = watchPlane(ctx, b.onPlane); err != nil {
		return err
	}
	if err := b.fill(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	fmt.Printf("\n%d federated objects in two members, %d status events a second. Load before: %s\n\n", b.objects, b.rate, load())
	fmt.Print("| phase | events | p50 | p99 | longest | writes of federated objects | per event | the plane's CPU per event |\n|---|---|---|---|---|---|---|---|\n")
	for _, phase := range []struct {
		name   string
		long   time.Duration
		choose func() int
	}{
		{"objects at random", b.long, func() int { return rand.IntN(b.objects) }},
		{"all about one object", b.long / 4, func() int { return 7 % b.objects }},
	} {
		b.sight.take()
		before, err := processorTime(b.plane.PID())
		if err != nil {
			return err
		}
		if err := b.storm(ctx, phase.long, phase.choose); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		after, err := processorTime(b.plane.PID())
		if err != nil {
			return err
		}
		took, writes := b.sight.take()
		slices.Sort(took)
		fmt.Printf("| %s | %d | %d ms | %d ms | %d ms | %d | %.2f | %.1f ms |\n", phase.name, len(took),
			at(took, 0.5), at(took, 0.99), at(took, 1), writes, float64(writes)/float64(len(took)),
			float64((after-before).Milliseconds())/float64(len(took)))
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	b.sight.take()
	if err := pause(ctx, b.idle); err != nil {
		return err
	}
	_, writes := b.sight.take()
	fmt.Printf("\nIn %s of silence the plane wrote %d times.\n", b.idle, writes)
	return nil
}

// storm sends events at the benchmark's rate, each without waiting for the one before, and waits until all are visible.
func (b *bench) storm(ctx context.Context, long time.Duration, choose func() int) error {
	tick := time.NewTicker(time.Second / time.Duration(b.rate))
	defer tick.Stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for end := time.Now().Add(long); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		i, now := choose(), time.Now()
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := b.news(ctx, i, now); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	return b.sight.settle(ctx)
}

// news is one event in a member: a status, as its controller would write it. The numbers of one object only grow.
func (b *bench) news(ctx context.Context, i int, now time.Time) error {
	turn := &b.turns[i%len(b.turns)]
	turn.Lock()
	defer turn.Unlock()
	e := event{b.number.Add(1), now}
	b.sight.send(name(i), e)
	status := fmt.Sprintf(`{"status":{"number":%d,"filler":"%s","conditions":[{"type":"Ready","status":"True"}]}}`, e.number, strings.Repeat("y", 256))
	_, err := b.inside[b.memberOf(i)].Resource(widgets).Namespace(namespace).Patch(ctx, name(i), types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	return err
}

func at(sorted []time.Duration, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Milliseconds()
}

func pause(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}

// load is the machine's load average: figures of a busy machine say little.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	return strings.Join(strings.Fields(string(raw))[:2], ", ")
}

// processorTime is what a process has used of processors so far: user and system time of /proc/PID/stat, in ticks of 10 ms.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading what the plane used: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, errU := strconv.ParseInt(fields[11], 10, 64)
	system, errS := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(errU, errS); err != nil {
		return 0, fmt.Errorf("reading what the plane used: %w", err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
