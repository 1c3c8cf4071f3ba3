package storage

import (
	"errors"
	"sync"

	"github.com/k3s-io/kine/pkg/server"
)

// backlogBytes bounds the events that wait for one client that does not read
// them. Beyond it that watch ends with an error, and the client takes it up
// again from the last revision it saw.
const backlogBytes = 64 << 20

var errSlowWatcher = errors.New("the watch fell too far behind")

// hub hands committed events to the watchers. The writer calls publish between
// the commit and the answer, so a watcher is told without polling, and whoever
// got an answer can rely on its event being with the watchers already.
type hub struct {
	mu       sync.Mutex
	tip      tip // the newest published
	watchers map[*watcher]struct{}
	closed   error
}

// watcher is one watch. What it has not taken yet waits in pending.
type watcher struct {
	hub    *hub
	keys   keyRange
	after  int64 // only events of later revisions
	signal chan struct{}

	pending []*server.Event
	bytes   int
	err     error
}

func newHub(t tip) *hub {
	return &hub{tip: t, watchers: map[*watcher]struct{}{}}
}

// publish must be called in the order of the revisions.
func (h *hub) publish(t tip, events []*server.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tip = t
	if len(events) == 0 {
		return
	}
	for w := range h.watchers {
		w.offer(events)
	}
}

// reset ends all watches with an error and goes on from another point of the log.
func (h *hub) reset(t tip, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tip = t
	for w := range h.watchers {
		w.end(err)
	}
}

// offer is called with the hub locked.
func (w *watcher) offer(events []*server.Event) {
	had := len(w.pending)
	for _, e := range events {
		if e.KV.ModRevision > w.after && w.keys.contains(e.KV.Key) {
			w.pending = append(w.pending, e)
			w.bytes += weight(e)
		}
	}
	if len(w.pending) == had {
		return
	}
	if had > 0 && w.bytes > backlogBytes {
		w.end(errSlowWatcher)
		return
	}
	w.wake()
}

// end gives the watch up, with what was pending: a hole would be worse.
func (w *watcher) end(err error) {
	w.pending, w.bytes, w.err = nil, 0, err
	delete(w.hub.watchers, w)
	w.wake()
}

func (w *watcher) wake() {
	select {
	case w.signal <- struct{}{}:
	default: // it is awake already
	}
}

// take gives all that is pending, and the revision up to which the watcher has
// then seen everything.
func (w *watcher) take() (events []*server.Event, upTo int64, err error) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	events, w.pending, w.bytes = w.pending, nil, 0
	return events, w.hub.tip.revision, w.err
}

// takeAll takes from several watchers at one moment: up to the same revision. The
// error is of one that has ended, which is woken to say so; the others' events are
// given all the same.
func (h *hub) takeAll(watchers []*watcher) (events [][]*server.Event, upTo int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range watchers {
		events = append(events, w.pending)
		w.pending, w.bytes = nil, 0
		if w.err != nil {
			err = w.err
			w.wake()
		}
	}
	return events, h.tip.revision, err
}

// subscribe starts a watch of what is published from now on and comes after the
// given revision, and says which revision was the newest published.
func (h *hub) subscribe(keys keyRange, after int64) (*watcher, int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return nil, 0, h.closed
	}
	w := &watcher{hub: h, keys: keys, after: after, signal: make(chan struct{}, 1)}
	h.watchers[w] = struct{}{}
	return w, h.tip.revision, nil
}

func (w *watcher) stop() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	delete(w.hub.watchers, w)
}

// published is the newest revision of which all watchers were told.
func (h *hub) published() int64 { return h.seen().revision }

// seen is that revision with the epoch and the stamp of its entry.
func (h *hub) seen() tip {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tip
}

// close ends all watches.
func (h *hub) close(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = err
	for w := range h.watchers {
		w.end(err)
	}
}

func weight(e *server.Event) int {
	n := len(e.KV.Key) + len(e.KV.Value) + 128
	if e.PrevKV != nil {
		n += len(e.PrevKV.Value)
	}
	return n
}
