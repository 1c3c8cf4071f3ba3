package storage

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Metrics of the log under a plane.
var (
	lossesTotal = metrics.NewCounter(&metrics.CounterOpts{
		Name: "cellfed_storage_losses_total", Help: "How often this server found that the database had lost entries that were acknowledged.",
	})
	historyRevisions = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "cellfed_storage_history_revisions", Help: "Revisions since the last compaction.",
	})
	unsweptRevisions = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "cellfed_storage_unswept_revisions", Help: "Compacted revisions whose entries are not removed yet.",
	})
	compactionBehind = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "cellfed_storage_compaction_behind", Help: "1: compaction, or the removal of what was compacted, has fallen behind; 0: it has not.",
	})
)

func init() {
	legacyregistry.MustRegister(lossesTotal, historyRevisions, unsweptRevisions, compactionBehind)
}

const (
	// An API server compacts every five minutes. Three of them missed, with much
	// written meanwhile, are a fault; so is removing that takes minutes.
	compactionOverdue = 15 * time.Minute
	sweepOverdue      = 2 * time.Minute
	muchHistory       = 10_000
)

// gauge watches over compaction.
type gauge struct {
	mu        sync.Mutex
	head      head
	compacted time.Time // when it last moved
	unswept   time.Time // since when there is something to remove; zero = there is not
}

// note tells of the head as it is now.
func (g *gauge) note(h *head, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.compacted != g.head.compacted || g.compacted.IsZero() {
		g.compacted = now
	}
	switch {
	case h.unswept() == 0:
		g.unswept = time.Time{}
	case g.unswept.IsZero() || h.swept > g.head.swept && h.compacted == g.head.compacted:
		g.unswept = now // it moves
	}
	g.head = *h
	historyRevisions.Set(float64(h.revision - h.compacted))
	unsweptRevisions.Set(float64(h.unswept()))
	behind := 0.0
	if g.verdict(now) != nil {
		behind = 1
	}
	compactionBehind.Set(behind)
}

func (g *gauge) verdict(now time.Time) error {
	history, left := g.head.revision-g.head.compacted, g.head.unswept()
	switch {
	case history > muchHistory && now.Sub(g.compacted) > compactionOverdue:
		return fmt.Errorf("nothing was compacted for %s, and %d revisions are kept: look for errors of the API server's compaction in the log",
			now.Sub(g.compacted).Round(time.Second), history)
	case left > 0 && !g.unswept.IsZero() && now.Sub(g.unswept) > sweepOverdue:
		return fmt.Errorf("the entries of %d compacted revisions wait to be removed for %s: look for errors of the storage in the log, and whether the disk is overloaded",
			left, now.Sub(g.unswept).Round(time.Second))
	}
	return nil
}

// Behind tells why compaction has fallen behind, nil if it has not. The plane
// serves all the same; its database grows.
func (s *Server) Behind() error {
	s.backend.gauge.mu.Lock()
	defer s.backend.gauge.mu.Unlock()
	return s.backend.gauge.verdict(time.Now())
}
