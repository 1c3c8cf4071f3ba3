package storage

import (
	"context"
	"fmt"
)

// RaiseRevision brings the revision to at least the given one, without writing all
// that lie between: what is restored here must be newer than anything that clients
// saw of it elsewhere. What was before is forgotten, and the epoch is another, so
// that every server on the database begins anew.
func (s *Server) RaiseRevision(ctx context.Context, to int64) error {
	w := s.backend.writer
	var now tip
	err := w.do(ctx, raiseKey, 0, func(b *batch) error {
		if b.revision >= to {
			return nil
		}
		b.epoch = newStamp()
		b.revision = max(b.revision, to-2)
		b.put(raiseKey, nil, 0, b.latest(raiseKey))
		b.remove(b.latest(raiseKey))
		b.compact(b.revision)
		now = tip{b.revision, b.epoch, b.mark}
		return nil
	})
	if err != nil {
		return fmt.Errorf("raising the revision: %w", err)
	}
	if now.revision > 0 {
		w.follower.reset(now, fmt.Errorf("the revision was raised to %d", to))
	}
	return nil
}

// raiseKey is below no prefix of an API server.
const raiseKey = "cellfed_raised"
