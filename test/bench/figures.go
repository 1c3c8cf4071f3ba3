package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

// figures are the seconds of two contestants in each phase, and their ratios in each pair of runs.
type figures struct {
	b               *bench
	name, floorName string
	ours            map[string][]float64
	floors          map[string][]float64
	ratios          map[string][]float64
	cpu             []float64 // of the first one's runs
}

func newFigures(b *bench, name, floorName string) *figures {
	return &figures{b: b, name: name, floorName: floorName, ours: map[string][]float64{}, floors: map[string][]float64{}, ratios: map[string][]float64{}}
}

func (f *figures) add(ours, floor map[string]float64) {
	for _, p := range phases {
		f.ours[p] = append(f.ours[p], ours[p])
		f.floors[p] = append(f.floors[p], floor[p])
		f.ratios[p] = append(f.ratios[p], ours[p]/floor[p])
	}
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := append([]float64(nil), values...)
	sort.Float64s(v)
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

func (f *figures) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d FederatedConfigMaps of 1 KiB, 3 members, %d clients, median of %d alternating runs.\n\n", f.b.objects, f.b.clients, f.b.runs)
	fmt.Fprintf(&s, "| phase | %s | %s | ratio (median; all) |\n|---|---|---|---|\n", f.name, f.floorName)
	for _, p := range phases {
		fmt.Fprintf(&s, "| %s | %.2f s | %.2f s | %.2f (%s) |\n", p, quantile(f.ours[p], 0.5), quantile(f.floors[p], 0.5), quantile(f.ratios[p], 0.5), spread(f.ratios[p]))
	}
	return s.String()
}

// tail tells p50 and p99 of milliseconds.
func tail(ms []float64) string {
	return fmt.Sprintf("p50 %.0f ms, p99 %.0f ms (%d objects)", quantile(ms, 0.5), quantile(ms, 0.99), len(ms))
}

func spread(values []float64) string {
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprintf("%.2f", v))
	}
	return strings.Join(out, ", ")
}

// use is what a process has used so far.
type use struct {
	cpu  float64 // seconds
	peak int64   // bytes resident
}

// usage reads what a process has used: user and system time of /proc/PID/stat in ticks of 10 ms, VmHWM of status.
func usage(pid int) (use, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return use{}, fmt.Errorf("reading what the plane used: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, errU := strconv.ParseFloat(fields[11], 64)
	system, errS := strconv.ParseFloat(fields[12], 64)
	if errU != nil || errS != nil {
		return use{}, fmt.Errorf("reading what the plane used: %q", stat)
	}
	u := use{cpu: (user + system) / 100}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return use{}, fmt.Errorf("reading what the plane used: %w", err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				return use{}, fmt.Errorf("reading what the plane used: %w", err)
			}
			u.peak = n << 10
		}
	}
	return u, nil
}
