package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 8 * time.Second

// ask sends a request once and reads all of the answer.
func (s *stage) ask(ctx context.Context, method, url string, body any) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := s.send(ctx, method, url, body)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close() //nolint:errcheck // what was to be read was
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, data, err
}

func (s *stage) send(ctx context.Context, method, url string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, err
	}
	request.GetBody = nil // the library would send it again by itself
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	return s.client.Do(request)
}

// status is a refusal.
type status struct {
	Kind, Reason, Message string
	Code                  int
	Details               struct{ Name string }
}

// crowd is clients at work, and their notes.
type crowd struct {
	*stage
	seed uint64
	stop chan struct{}
	wait sync.WaitGroup // of who writes and lists
	// done ends the watches, which hear the last of it.
	done     chan struct{}
	watching sync.WaitGroup
	// known is the newest revision that anybody was told.
	known atomic.Int64
	acks  atomic.Int64

	mu    sync.Mutex
	notes notes
	// doubts are why writes were not answered for certain.
	doubts    map[string]int
	followers []*follower
}

// work starts clients.
func (s *stage) work(seed uint64, writers int) *crowd {
	c := &crowd{stage: s, seed: seed, stop: make(chan struct{}), done: make(chan struct{}), doubts: map[string]int{}}
	for n := range writers {
		w := &writer{crowd: c, number: n, chance: c.chance(n), objects: map[string]map[string]any{}}
		c.wait.Go(w.run)
	}
	for n := range 2 {
		c.wait.Go(func() { c.look(c.chance(100 + n)) })
	}
	c.watchAll()
	return c
}

// chance is one client's: what others do does not change it.
func (c *crowd) chance(n int) *rand.Rand { return rand.New(rand.NewPCG(c.seed, uint64(n))) }

func (c *crowd) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return c.Context().Err() != nil
	}
}

// learn notes that a revision was told.
func (c *crowd) learn(revision int64) {
	for {
		known := c.known.Load()
		if revision <= known || c.known.CompareAndSwap(known, revision) {
			return
		}
	}
}

func (c *crowd) note(add func(*notes)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.notes)
}

// digits are what makes two messages of one cause differ.
var digits = regexp.MustCompile(`[0-9]+`)

func (c *crowd) doubt(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubts[digits.ReplaceAllString(what, "#")]++
}

// writer is a client that writes. It remembers objects as it saw them last, and so does not know of what others did.
type writer struct {
	*crowd
	number, count int
	chance        *rand.Rand
	objects       map[string]map[string]any
}

func (w *writer) run() {
	const own, common = 14, 6
	for !w.stopped() {
		time.Sleep(time.Duration(w.chance.IntN(24)) * time.Millisecond)
		r := resources[w.chance.IntN(len(resources))]
		name := fmt.Sprintf("o-%d-%d", w.number, w.chance.IntN(own))
		if w.chance.IntN(5) == 0 {
			name = fmt.Sprintf("common-%d", w.chance.IntN(common))
		}
		w.act(r, name, w.hosts[w.chance.IntN(len(w.hosts))])
	}
}

// act reads an object if it is not known, and writes it.
func (w *writer) act(r *resource, name, host string) {
	at := r.path + "/" + name
	object, remembered := w.objects[at]
	if !remembered || w.chance.IntN(4) == 0 {
		if object, remembered = w.get(r, name, host); !remembered {
			return
		}
	}
	delete(w.objects, at)
	w.count++
	note := write{verb: "update", key: r.prefix + name, mark: fmt.Sprintf("mark-%d-%d-end", w.number, w.count), known: w.known.Load()}
	method, url, body := http.MethodPut, host+at, object
	dice := w.chance.IntN(10)
	if object == nil {
		note.verb, method, url, body = "create", http.MethodPost, host+r.path, r.body(name, note.mark)
	} else {
		meta, _ := object["metadata"].(map[string]any)
		version, _ := meta["resourceVersion"].(string)
		note.claimed, _ = strconv.ParseInt(version, 10, 64)
		if meta["deletionTimestamp"] != nil {
			return // it goes without us
		}
		if dice < 3 {
			note.verb, note.mark, method = "delete", "", http.MethodDelete
			body = map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": map[string]any{"resourceVersion": version}}
		} else {
			r.setMark(object, note.mark)
		}
	}
	code, data, err := w.ask(w.Context(), method, url, body)
	w.judged(&note, name, code, data, err)
	if note.outcome == acknowledged && note.verb != "delete" {
		s, err := r.shown(data)
		var made map[string]any
		if err != nil || json.Unmarshal(data, &made) != nil || s.key != note.key || s.mark != note.mark {
			w.Errorf("%s was answered with %.300s, %v", note, data, err)
			return
		}
		note.revision = s.revision
		w.learn(s.revision)
		w.objects[at] = made
	}
	w.note(func(n *notes) { n.writes = append(n.writes, note) })
}

// judged says what an answer to a write means.
func (w *writer) judged(note *write, name string, code int, data []byte, err error) {
	var s status
	switch {
	case err != nil:
		note.outcome = unknown
		w.doubt("no answer: " + err.Error())
		time.Sleep(20 * time.Millisecond)
	case code == http.StatusOK, code == http.StatusCreated, code == http.StatusAccepted:
		note.outcome = acknowledged
		w.acks.Add(1)
	case code >= http.StatusInternalServerError, code == http.StatusTooManyRequests, json.Unmarshal(data, &s) != nil,
		code == http.StatusNotFound && s.Details.Name != name: // a path that is not served yet
		note.outcome = unknown
		_ = json.Unmarshal(data, &s)
		w.doubt(fmt.Sprintf("%d: %.200s", code, s.Message))
		time.Sleep(5 * time.Millisecond)
	default:
		note.outcome, note.reason = refused, s.Reason
		if s.Reason == "" || s.Reason == "Invalid" {
			note.reason = fmt.Sprintf("%d %.300s", code, data)
		}
	}
}

// get reads an object; nil when there is none. It is not known when nobody answers.
func (w *writer) get(r *resource, name, host string) (map[string]any, bool) {
	note := read{seen: seen{key: r.prefix + name}, known: w.known.Load()}
	code, data, err := w.ask(w.Context(), http.MethodGet, host+r.path+"/"+name, nil)
	var object map[string]any
	switch {
	case err != nil:
		time.Sleep(20 * time.Millisecond)
		return nil, false
	case code == http.StatusOK:
		s, err := r.shown(data)
		if err != nil || json.Unmarshal(data, &object) != nil || s.key != note.key {
			w.Errorf("reading %s: %.300s, %v", note.key, data, err)
			return nil, false
		}
		note.seen, note.found = s, true
		w.learn(s.revision)
	case code == http.StatusNotFound:
		var s status
		if json.Unmarshal(data, &s) != nil || s.Details.Name != name {
			return nil, false
		}
	default:
		return nil, false
	}
	w.note(func(n *notes) { n.reads = append(n.reads, note) })
	return object, true
}

// look lists again and again: at once and in pages, new, old and whatever is at hand.
func (c *crowd) look(chance *rand.Rand) {
	var old []list
	for !c.stopped() {
		time.Sleep(time.Duration(chance.IntN(60)) * time.Millisecond)
		r := resources[chance.IntN(len(resources))]
		l := list{how: "a list", prefix: r.prefix, known: c.known.Load()}
		query := "?limit=0"
		switch dice := chance.IntN(10); {
		case dice < 3:
		case dice < 6:
			l.how, query = "a list in pages", fmt.Sprintf("?limit=%d", 1+chance.IntN(25))
		case dice < 7:
			l.how, l.known, query = "a list of whatever there is", 0, "?resourceVersion=0"
		case len(old) > 0:
			exact := old[chance.IntN(len(old))].revision
			l.how, l.known = "an old list in pages", 0
			query = fmt.Sprintf("?resourceVersionMatch=Exact&resourceVersion=%d&limit=%d", exact, 1+chance.IntN(25))
		}
		if !c.pages(r, &l, query, chance) {
			continue
		}
		if l.known > 0 {
			c.learn(l.revision)
			if old = append(old, list{revision: l.revision}); len(old) > 200 {
				old = old[100:]
			}
		}
		c.note(func(n *notes) { n.lists = append(n.lists, l) })
	}
}

// pages gets all pages of a list. A page that fails is asked for again, of any server.
func (c *crowd) pages(r *resource, l *list, query string, chance *rand.Rand) bool {
	first, failed := query, 0
	for {
		code, data, err := c.ask(c.Context(), http.MethodGet, c.hosts[chance.IntN(len(c.hosts))]+r.path+query, nil)
		if err != nil || code != http.StatusOK {
			if failed++; failed > 20 || code == http.StatusGone || query == first || c.Context().Err() != nil {
				return false
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		var page struct {
			Metadata objectMeta
			Items    []json.RawMessage
		}
		if err := json.Unmarshal(data, &page); err != nil {
			c.Errorf("%s of %s: %v", l.how, r.path, err)
			return false
		}
		revision, err := strconv.ParseInt(page.Metadata.ResourceVersion, 10, 64)
		if err != nil || l.revision != 0 && l.revision != revision {
			c.Errorf("%s of %s: a page of revision %q follows one of %d", l.how, r.path, page.Metadata.ResourceVersion, l.revision)
			return false
		}
		l.revision = revision
		for _, item := range page.Items {
			s, err := r.shown(item)
			if err != nil {
				c.Errorf("%s of %s: %v", l.how, r.path, err)
				return false
			}
			l.items = append(l.items, s)
		}
		if page.Metadata.Continue == "" {
			return true
		}
		limit := first[strings.Index(first, "limit="):]
		query = "?" + limit + "&continue=" + page.Metadata.Continue
	}
}
