package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// watchAll starts two watches of each resource.
func (c *crowd) watchAll() {
	ctx, cancel := context.WithCancel(c.Context())
	go func() {
		defer cancel()
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}()
	for n := range 2 {
		for i, r := range resources {
			f := &follower{crowd: c, ctx: ctx, resource: r, chance: c.chance(200 + 10*n + i)}
			c.followers = append(c.followers, f)
			c.watching.Go(f.run)
		}
	}
}

// follower is a client that lists and watches as an informer does, but that takes a watch up at the last revision it was told
// whenever it can, on any server.
type follower struct {
	*crowd
	ctx      context.Context // of its one goroutine
	resource *resource
	chance   *rand.Rand
	// end is how far it came.
	end atomic.Int64
}

func (f *follower) host() string { return f.hosts[f.chance.IntN(len(f.hosts))] }

func (f *follower) run() {
	for f.ctx.Err() == nil {
		from, ok := f.begin()
		if !ok {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		w := watch{how: "a watch", prefix: f.resource.prefix, from: from}
		f.end.Store(from)
		for at := from; f.ctx.Err() == nil; {
			gone := f.follow(&w, &at)
			if gone {
				break
			}
		}
		f.note(func(n *notes) { n.watches = append(n.watches, w) })
	}
}

// begin is a list, as one or as the beginning of a watch.
func (f *follower) begin() (int64, bool) {
	l := list{how: "a list before a watch", prefix: f.resource.prefix, known: f.known.Load()}
	if f.chance.IntN(2) == 0 {
		l.how = "the list that a watch begins with"
		if !f.initial(&l) {
			return 0, false
		}
	} else if !f.pages(f.resource, &l, "?limit=0", f.chance) {
		return 0, false
	}
	f.learn(l.revision)
	f.note(func(n *notes) { n.lists = append(n.lists, l) })
	return l.revision, true
}

// initial has a watch tell what there is.
func (f *follower) initial(l *list) (whole bool) {
	f.stream("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=", func(kind string, s seen, meta objectMeta) bool {
		if kind == "ADDED" {
			l.items = append(l.items, s)
			return true
		}
		l.revision, whole = s.revision, kind == "BOOKMARK" && meta.Annotations["k8s.io/initial-events-end"] == "true"
		return false
	})
	return whole
}

// follow watches from a revision on until the watch ends, and tells whether that revision is forgotten.
func (f *follower) follow(w *watch, at *int64) (gone bool) {
	return f.stream(fmt.Sprintf("resourceVersion=%d&timeoutSeconds=%d", *at, 3+f.chance.IntN(10)), func(kind string, s seen, _ objectMeta) bool {
		w.events = append(w.events, event{kind, s})
		*at = s.revision
		f.end.Store(s.revision)
		return true
	})
}

// stream asks for a watch and hands on what it tells, as long as more is wanted.
func (f *follower) stream(query string, more func(kind string, s seen, meta objectMeta) bool) (gone bool) {
	ctx, cancel := context.WithTimeout(f.ctx, 30*time.Second)
	defer cancel()
	response, err := f.send(ctx, http.MethodGet, f.host()+f.resource.path+"?watch=1&allowWatchBookmarks=true&"+query, nil)
	if err != nil {
		time.Sleep(50 * time.Millisecond)
		return false
	}
	defer response.Body.Close() //nolint:errcheck // a watch is cut off
	if response.StatusCode != http.StatusOK {
		time.Sleep(50 * time.Millisecond)
		return response.StatusCode == http.StatusGone
	}
	decoder := json.NewDecoder(response.Body)
	for {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if decoder.Decode(&e) != nil {
			return false
		}
		if e.Type == "ERROR" {
			var s status
			_ = json.Unmarshal(e.Object, &s)
			return s.Code == http.StatusGone
		}
		s, err := f.resource.shown(e.Object)
		var o struct{ Metadata objectMeta }
		if err != nil || json.Unmarshal(e.Object, &o) != nil {
			f.Errorf("a watch told %s %.300s: %v", e.Type, e.Object, err)
			return false
		}
		if e.Type == "BOOKMARK" {
			s.key, s.mark = "", ""
		}
		if !more(e.Type, s, o.Metadata) {
			return false
		}
	}
}
