package main

import (
	"fmt"
	"slices"
	"strings"
)

// rows are what the table tells.
func rows(body int) []struct {
	name string
	of   func(figures) float64
} {
	mib := fmt.Sprintf("%d MiB body", body)
	return []struct {
		name string
		of   func(figures) float64
	}{
		{"small GET over TLS, p50", func(f figures) float64 { return f.secure.p50 }},
		{"small GET over TLS, p99", func(f figures) float64 { return f.secure.p99 }},
		{"small GET in the clear, p50", func(f figures) float64 { return f.plain.p50 }},
		{"small GET in the clear, p99", func(f figures) float64 { return f.plain.p99 }},
		{"dial and close", func(f figures) float64 { return f.dial }},
		{mib + " over TLS", func(f figures) float64 { return f.secure.body }},
		{mib + " in the clear", func(f figures) float64 { return f.plain.body }},
	}
}

// table is in Markdown: medians, and medians of the ratios to the first way in the same round.
func table(ways []way, taken map[string][]figures, body int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "| ms, median of %d rounds | %s |", len(taken[ways[0].name]), ways[0].name)
	for _, w := range ways[1:] {
		fmt.Fprintf(&s, " %s | ratio |", w.name)
	}
	s.WriteString("\n|---|---|" + strings.Repeat("---|---|", len(ways)-1) + "\n")
	for _, r := range rows(body) {
		floor := taken[ways[0].name]
		fmt.Fprintf(&s, "| %s | %s |", r.name, written(median(len(floor), func(i int) float64 { return r.of(floor[i]) })))
		for _, w := range ways[1:] {
			own := taken[w.name]
			fmt.Fprintf(&s, " %s | %.2f |", written(median(len(own), func(i int) float64 { return r.of(own[i]) })),
				median(len(own), func(i int) float64 { return r.of(own[i]) / r.of(floor[i]) }))
		}
		s.WriteString("\n")
	}
	return s.String()
}

// median is of a figure of each round.
func median(rounds int, of func(round int) float64) float64 {
	all := make([]float64, rounds)
	for i := range all {
		all[i] = of(i)
	}
	slices.Sort(all)
	return all[rounds/2]
}

func written(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.3f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
