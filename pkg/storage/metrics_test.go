package storage

import (
	"strings"
	"testing"
	"time"
)

func TestCompactionThatFallsBehindIsTold(t *testing.T) {
	type sight struct {
		after                      time.Duration
		revision, compacted, swept int64
	}
	for name, tc := range map[string]struct {
		seen []sight
		says string // "" = all is well
	}{
		"a plane that writes little":            {[]sight{{0, 10, 0, 0}, {time.Hour, 500, 0, 0}}, ""},
		"a plane that compacts":                 {[]sight{{0, 10, 0, 0}, {5 * time.Minute, 50_000, 30_000, 30_000}, {10 * time.Minute, 90_000, 60_000, 60_000}}, ""},
		"no compaction under load":              {[]sight{{0, 10, 0, 0}, {16 * time.Minute, 50_000, 0, 0}}, "nothing was compacted for 16m0s, and 50000 revisions are kept"},
		"a compaction after an outage":          {[]sight{{0, 10, 0, 0}, {16 * time.Minute, 50_000, 0, 0}, {17 * time.Minute, 50_100, 50_000, 0}}, ""},
		"a sweep that stands still":             {[]sight{{0, 50_000, 40_000, 0}, {3 * time.Minute, 50_000, 40_000, 0}}, "the entries of 40000 compacted revisions wait to be removed"},
		"a sweep that takes long, and moves":    {[]sight{{0, 50_000, 40_000, 0}, {3 * time.Minute, 50_000, 40_000, 500}}, ""},
		"a sweep that has caught up long after": {[]sight{{0, 50_000, 40_000, 0}, {3 * time.Minute, 50_000, 40_000, 40_000}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g, begun, now := &gauge{}, time.Now(), time.Time{}
			for _, s := range tc.seen {
				now = begun.Add(s.after)
				g.note(&head{revision: s.revision, compacted: s.compacted, swept: s.swept}, now)
			}
			err := g.verdict(now)
			if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("it says %v, want %q", err, tc.says)
			}
		})
	}
}

func TestAnIdlePlaneIsNotBehind(t *testing.T) {
	onSQL(t, func(t *testing.T, endpoint string) {
		s := serve(t, endpoint)
		c := client(t, s)
		made, err := create(t.Context(), c, "/r/a", "v")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compact(t.Context(), made.Header.Revision); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what can be removed is removed", func() bool {
			s.backend.gauge.mu.Lock()
			defer s.backend.gauge.mu.Unlock()
			h := s.backend.gauge.head
			return h.compacted == made.Header.Revision && h.swept == h.revision-1
		})
		s.backend.gauge.note(&s.backend.gauge.head, time.Now().Add(time.Hour))
		if err := s.backend.gauge.verdict(time.Now().Add(time.Hour)); err != nil {
			t.Errorf("an idle plane: %v", err)
		}
	})
}
