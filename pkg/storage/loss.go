package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"k8s.io/klog/v2"
)

const (
	// lossKey holds the report of the last loss. It is below no prefix of an API
	// server.
	lossKey = "cellfed_lost_history"

	// leap is how far revisions jump after a loss. Whatever anybody saw of the lost
	// part, here or through another server that has not noticed yet, is below it.
	leap = 1_000_000
)

// begunAnew is called under the head's lock when the log does not go on from what
// this process has seen. Whoever finds that entries are lost says so in the log
// itself: a new epoch, revisions above all that anybody can have seen, and all
// before forgotten, so that every server and every client lists anew. Others
// meet the new epoch and only follow. The writes that met it are refused either
// way: they may rest on what was lost.
func (w *writer) begunAnew(ctx context.Context, s *session, h head, why error) error {
	if !errors.Is(why, errLost) {
		if err := w.abandon(ctx, nil); err != nil {
			return err
		}
		w.follower.reset(tip{h.revision, h.epoch, h.stamp}, why)
		return why
	}
	seen := w.follower.hub.seen()
	report := fmt.Sprintf(`{"time":%q,"lastSeen":%d,"found":%d}`, time.Now().UTC().Format(time.RFC3339), seen.revision, h.revision)
	b := newBatch(ctx, s, h)
	if err := b.fetch([]string{lossKey}); err != nil {
		return w.abandon(ctx, err)
	}
	b.epoch = newStamp()
	b.revision = max(h.revision, seen.revision) + leap
	b.put(lossKey, []byte(report), 0, b.latest(lossKey))
	b.compact(b.revision)
	if err := b.flush(); err != nil {
		return w.abandon(ctx, err)
	}
	if err := s.exec(ctx, `COMMIT`); err != nil {
		_, err = w.settle(ctx, b, fmt.Errorf("recording a loss: %w", err))
		if err != nil {
			return err
		}
	}
	lossesTotal.Inc()
	klog.ErrorS(why, "The database has lost entries; watches and caches begin anew", "lastSeen", seen.revision, "found", h.revision,
		"goesOnAt", b.revision, "report", lossKey)
	w.follower.reset(tip{b.revision, b.epoch, b.mark}, why)
	return why
}

// errNewHistory is what watchers are told: they treat it like any compaction.
var errNewHistory = server.ErrCompacted
