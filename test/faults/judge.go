package faults

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// entry is one line of the database's log.
type entry struct {
	revision, created, previous int64
	key                         string
	deleted                     bool
	// doomed says that the value has a deletionTimestamp.
	doomed bool
	// mark names the write that the value came with; others carry it along.
	mark string
}

// outcome is what a client was told of a write.
type outcome string

const (
	acknowledged outcome = "acknowledged"
	refused      outcome = "refused"
	// unknown is no answer, or one that the server could not tell for certain.
	unknown outcome = "unknown"
)

// write is a client's note of something it wanted.
type write struct {
	verb, key string
	// mark is new with every create and update.
	mark string
	// claimed is the revision that it was to replace; 0 when there was to be none.
	claimed int64
	// known is the newest revision that anybody had been told before it was sent.
	known   int64
	outcome outcome
	// revision is what an acknowledgement said; 0 when it said none.
	revision int64
	reason   string
}

func (w write) String() string {
	return fmt.Sprintf("%s %s of %s on top of %d, %s (revision %d %s)", w.verb, w.mark, w.key, w.claimed, w.outcome, w.revision, w.reason)
}

// seen is an object that a client was shown.
type seen struct {
	key, mark string
	revision  int64
}

// read is a client's note of a GET: an object, or that there is none.
type read struct {
	seen
	found bool
	known int64
}

// list is a client's note of a list, put together from its pages.
type list struct {
	how, prefix     string
	known, revision int64
	items           []seen
}

// event is what a watch told. A bookmark is about no object.
type event struct {
	kind string
	seen
}

// watch is a client's note of a watch from a list on, taken up where it ended as often as it ended.
type watch struct {
	how, prefix string
	from        int64
	events      []event
}

// notes are everything that clients were told.
type notes struct {
	writes  []write
	reads   []read
	lists   []list
	watches []watch
}

// owner is who writes a key.
type owner int

const (
	// others are the plane itself: of them only the log is known.
	others owner = iota
	// clients write what they note, and nobody else does.
	clients
	// both: others write objects again without changing their marks, for status and finalizers.
	both
)

// history is the log, by key.
type history struct {
	entries []entry
	byKey   map[string][]entry
	owner   func(key string) owner
	last    int64
	faults  []string
}

// judge tells everything in the notes that does not fit the log.
func judge(entries []entry, n *notes, owner func(key string) owner) []string {
	h := &history{entries: entries, byKey: map[string][]entry{}, owner: owner}
	holes := 0
	for _, e := range entries {
		if holes += int(e.revision - h.last - 1); holes > 0 && len(h.faults) == 0 {
			h.fault("the log has revision %d where %d belongs", e.revision, h.last+1)
		}
		h.last = e.revision
		h.byKey[e.key] = append(h.byKey[e.key], e)
	}
	if holes > 0 {
		h.fault("the log lacks %d revisions", holes)
	}
	h.judgeWrites(n.writes)
	for _, r := range n.reads {
		h.judgeRead(r)
	}
	for _, l := range n.lists {
		h.judgeList(l)
	}
	for _, w := range n.watches {
		h.judgeWatch(w)
	}
	return h.faults
}

func (h *history) fault(format string, args ...any) {
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

// at is the newest entry of a key at a revision; none is one that is deleted.
func (h *history) at(key string, revision int64) entry {
	of := h.byKey[key]
	n, found := slices.BinarySearchFunc(of, revision, func(e entry, r int64) int { return cmp.Compare(e.revision, r) })
	if found {
		n++
	}
	if n == 0 {
		return entry{key: key, deleted: true}
	}
	return of[n-1]
}

// ever tells whether something held of a key at a revision or later.
func (h *history) ever(key string, from int64, holds func(entry) bool) bool {
	if holds(h.at(key, from)) {
		return true
	}
	return slices.ContainsFunc(h.byKey[key], func(e entry) bool { return e.revision > from && holds(e) })
}

// judgeWrites compares writes with the entries they made or must not have made.
func (h *history) judgeWrites(writes []write) {
	byMark, deletes := map[string]write{}, map[string][]write{}
	for _, w := range writes {
		if w.verb == "delete" {
			at := fmt.Sprint(w.key, " ", w.claimed)
			deletes[at] = append(deletes[at], w)
		} else {
			byMark[w.mark] = w
		}
	}
	made := map[string]entry{}
	for _, key := range slices.Sorted(maps.Keys(h.byKey)) {
		before := entry{deleted: true}
		for _, e := range h.byKey[key] {
			h.judgeEntry(before, e, byMark, deletes, made)
			before = e
		}
	}
	told := map[string]write{}
	for _, w := range writes {
		switch {
		case w.outcome == acknowledged && w.verb == "delete":
			h.judgeDeleted(w, told)
		case w.outcome == acknowledged:
			if e, ok := made[w.mark]; !ok {
				h.fault("lost: %s is not in the log", w)
			} else if e.revision != w.revision || w.revision <= w.known {
				h.fault("%s is revision %d of the log, and %d had been told before it was sent", w, e.revision, w.known)
			}
		case w.outcome == refused:
			h.judgeRefusal(w)
		}
	}
}

// judgeEntry says who made an entry, which must be somebody.
func (h *history) judgeEntry(before, e entry, byMark map[string]write, deletes map[string][]write, made map[string]entry) {
	if before.revision != 0 && e.previous != before.revision && (!before.deleted || e.previous != 0) {
		h.fault("entry %d of %s is on top of %d, not of %d", e.revision, e.key, e.previous, before.revision)
	}
	if h.owner(e.key) == others {
		return
	}
	w, known := byMark[e.mark]
	_, again := made[e.mark]
	switch {
	case e.deleted:
		by := deletes[fmt.Sprint(e.key, " ", before.revision)]
		if h.owner(e.key) == clients && !slices.ContainsFunc(by, func(w write) bool { return w.outcome != refused }) {
			h.fault("nobody deleted %s at %d, or who did was refused: %v", e.key, e.revision, by)
		}
	case !before.deleted && e.mark == before.mark && h.owner(e.key) == both:
		by := deletes[fmt.Sprint(e.key, " ", before.revision)]
		if e.doomed && !before.doomed && !slices.ContainsFunc(by, func(w write) bool { return w.outcome != refused }) {
			h.fault("nobody deleted %s at %d, or who did was refused: %v", e.key, e.revision, by)
		}
	case !known:
		h.fault("invented: nobody wrote entry %d of %s, %q", e.revision, e.key, e.mark)
	case again:
		h.fault("entry %d of %s repeats entry %d: %s", e.revision, e.key, made[e.mark].revision, w)
	case w.outcome == refused:
		h.fault("entry %d of %s is of a write that was refused: %s", e.revision, e.key, w)
	case w.key != e.key:
		h.fault("entry %d of %s is of another key: %s", e.revision, e.key, w)
	case w.verb == "create" && !before.deleted, w.verb == "update" && before.revision != w.claimed:
		h.fault("entry %d of %s replaces %d, which was not claimed: %s", e.revision, e.key, before.revision, w)
	default:
		made[e.mark] = e
	}
}

// judgeDeleted looks for the entry that an acknowledged delete made.
func (h *history) judgeDeleted(w write, told map[string]write) {
	if h.at(w.key, w.claimed).doomed {
		return // asked for again, which changes nothing
	}
	at := fmt.Sprint(w.key, " ", w.claimed)
	if other, twice := told[at]; twice {
		h.fault("two deletes of one revision were acknowledged: %s; %s", other, w)
	}
	told[at] = w
	for _, e := range h.byKey[w.key] {
		if e.previous == w.claimed && (e.deleted || e.doomed) {
			return
		}
	}
	h.fault("lost: %s is not in the log", w)
}

// judgeRefusal looks whether what a refusal said was true at any time since the write was sent.
func (h *history) judgeRefusal(w write) {
	var holds func(entry) bool
	switch w.reason {
	case "AlreadyExists":
		holds = func(e entry) bool { return !e.deleted }
	case "NotFound":
		holds = func(e entry) bool { return e.deleted }
	case "Conflict":
		holds = func(e entry) bool { return e.revision != w.claimed }
	case "Unauthorized", "Forbidden":
		return // a server that starts does not know everybody yet
	default:
		h.fault("a strange refusal: %s", w)
		return
	}
	if !h.ever(w.key, w.known, holds) {
		h.fault("refused without a reason: %s", w)
	}
}

// judgeRead compares a GET with the log.
func (h *history) judgeRead(r read) {
	if !r.found {
		if !h.ever(r.key, r.known, func(e entry) bool { return e.deleted }) {
			h.fault("%s was not found, and is there since before revision %d", r.key, r.known)
		}
		return
	}
	if e := h.at(r.key, r.revision); e.deleted || e.revision != r.revision || e.mark != r.mark {
		h.fault("%s was shown as %d %q, and is %d %q in the log", r.key, r.revision, r.mark, e.revision, e.mark)
	}
	if !h.ever(r.key, r.known, func(e entry) bool { return e.revision == r.revision }) {
		h.fault("%s was shown as of %d, which was replaced before %d had been told", r.key, r.revision, r.known)
	}
}

// judgeList compares a list with the log at its revision.
func (h *history) judgeList(l list) {
	if l.revision < l.known {
		h.fault("%s of %s is of revision %d, and %d had been told before", l.how, l.prefix, l.revision, l.known)
	}
	if l.revision > h.last {
		h.fault("%s of %s is of revision %d, and the log ends at %d", l.how, l.prefix, l.revision, h.last)
	}
	shown := map[string]seen{}
	for _, s := range l.items {
		if _, twice := shown[s.key]; twice {
			h.fault("%s of %s at %d shows %s twice", l.how, l.prefix, l.revision, s.key)
		}
		shown[s.key] = s
	}
	missing := 0
	for _, key := range slices.Sorted(maps.Keys(h.byKey)) {
		if !strings.HasPrefix(key, l.prefix) {
			continue
		}
		e := h.at(key, l.revision)
		s, ok := shown[key]
		switch {
		case !ok && !e.deleted:
			missing++
		case ok && (e.deleted || s.revision != e.revision || s.mark != e.mark):
			h.fault("%s at %d shows %s as %d %q, and it is %d %q", l.how, l.revision, key, s.revision, s.mark, e.revision, e.mark)
		}
		delete(shown, key)
	}
	if missing > 0 {
		h.fault("%s of %s at %d shows %d objects and lacks %d", l.how, l.prefix, l.revision, len(l.items), missing)
	}
	for key := range shown {
		h.fault("%s at %d shows %s, which never was", l.how, l.revision, key)
	}
}

// judgeWatch compares a watch with the log from where it began to where it ended.
func (h *history) judgeWatch(w watch) {
	at := w.from // everything up to here was told
	for n, e := range w.events {
		if e.revision < at || e.revision == at && e.kind != "BOOKMARK" {
			h.fault("%s of %s told %s %d after %d", w.how, w.prefix, e.kind, e.revision, at)
			return
		}
		if e.revision > h.last {
			h.fault("%s of %s told %s %d, and the log ends at %d", w.how, w.prefix, e.kind, e.revision, h.last)
			return
		}
		upTo := e.revision
		if e.kind != "BOOKMARK" {
			upTo--
		}
		for _, left := range h.between(at, upTo) {
			if strings.HasPrefix(left.key, w.prefix) {
				h.fault("%s of %s told %s %d (its event %d) after %d and left out %d of %s", w.how, w.prefix, e.kind, e.revision, n, at, left.revision, left.key)
				return
			}
		}
		at = e.revision
		if e.kind == "BOOKMARK" {
			continue
		}
		of := h.between(e.revision-1, e.revision)
		if len(of) == 0 {
			h.fault("%s of %s told %v, and the log has no such revision", w.how, w.prefix, e)
			return
		}
		if want := h.told(of[0]); e != want {
			h.fault("%s of %s told %v, and the log says %v", w.how, w.prefix, e, want)
			return
		}
	}
}

// between are the entries after a revision up to another, that one included.
func (h *history) between(after, upTo int64) []entry {
	from, _ := slices.BinarySearchFunc(h.entries, after+1, func(e entry, r int64) int { return cmp.Compare(e.revision, r) })
	to, _ := slices.BinarySearchFunc(h.entries, upTo+1, func(e entry, r int64) int { return cmp.Compare(e.revision, r) })
	return h.entries[from:max(from, to)]
}

// told is an entry as a watch has to tell it.
func (h *history) told(e entry) event {
	out := event{"MODIFIED", seen{e.key, e.mark, e.revision}}
	switch {
	case e.deleted:
		out.kind, out.mark = "DELETED", h.at(e.key, e.revision-1).mark
	case e.created == e.revision:
		out.kind = "ADDED"
	}
	return out
}
