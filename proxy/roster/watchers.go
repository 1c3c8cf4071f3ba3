package roster

import (
	"context"
	"sync"
)

// Watchers are those in this process who want to know whose agents have come or gone. The zero value is none.
type Watchers struct {
	mu   sync.Mutex
	all  map[int]func(string)
	next int
}

// Subscribe has changed called with the name of a member whose agents have come or gone, until ctx ends. It is called from
// a goroutine that holds no lock of the teller's, and should return soon.
func (w *Watchers) Subscribe(ctx context.Context, changed func(member string)) {
	w.mu.Lock()
	if w.all == nil {
		w.all = map[int]func(string){}
	}
	id := w.next
	w.next++
	w.all[id] = changed
	w.mu.Unlock()
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	})
}

// Tell tells all of them.
func (w *Watchers) Tell(member string) {
	w.mu.Lock()
	all := make([]func(string), 0, len(w.all))
	for _, changed := range w.all {
		all = append(all, changed)
	}
	w.mu.Unlock()
	for _, changed := range all {
		changed(member)
	}
}
