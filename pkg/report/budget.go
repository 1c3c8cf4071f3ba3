package report

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cellfed/cellfed/pkg/federated"
)

// A status shares its room among its units, evenly: what is left out of one entry depends on how many units there are
// and on that entry alone, so that one member's news never changes what is told of another.
const (
	// budget is what a status may take, encoded, in either form.
	budget = 256 << 10
	// envelope is set aside for what is not an entry. More conditions than ours may take more, in steps of this.
	envelope = 4 << 10
	// renaming is how much longer an entry may be in the other form, with what separates it from the next.
	renaming = len("clusterName") - len("name") + 1

	longestHealth = 256
	// spacious is a share in which there is room for whole sentences about what was left out.
	spacious = 2 << 10
)

// rations is how much room the parts of an entry have.
type rations struct {
	share  int // the whole entry
	health int // set aside for the health's message, so that its length does not matter to the rest
	note   int // set aside for what was left out
}

func rationsOf(units int, conditions []any) rations {
	aside := envelope
	for size(conditions, budget)+envelope/2 > aside {
		aside += envelope
	}
	share := (budget-aside)/max(units, 1) - renaming
	r := rations{share: share, health: min(max(share/8, 51), keyed("healthMessage")+longestHealth), note: 56}
	if share >= spacious {
		r.note = 400
	}
	return r
}

// keyed is what a text field costs besides its text.
func keyed(field string) int { return len(field) + len(`"":"",`) }

// fit leaves out of entries what there is no room for: of the members' own status first, of messages at last. What
// the plane itself needs of an entry always stays.
func fit(entries []federated.UnitStatus, before federated.Status, conditions []any) {
	r := rationsOf(len(entries), conditions)
	had := make(map[string]*federated.UnitStatus, len(before.Units))
	for i := range before.Units {
		had[before.Units[i].Name] = &before.Units[i]
	}
	for i := range entries {
		r.fit(&entries[i], had[entries[i].Name])
	}
}

func (r rations) fit(e, before *federated.UnitStatus) {
	bare := *e
	bare.Message, bare.HealthMessage, bare.RemoteStatus, bare.RemoteStatusOmitted = "", "", nil, ""
	left := r.share - size(encodeUnit(bare), budget)
	take := func(field, text string, limit int) string {
		text = within(text, min(limit, left)-keyed(field))
		if text != "" {
			left -= keyed(field) + encoded(text)
		}
		return text
	}
	e.Message = take("message", e.Message, budget)
	if e.RemoteStatus != nil {
		room := left - r.health - len(`"remoteStatus":,`)
		var omitted []string
		e.RemoteStatus, omitted = cut(e.RemoteStatus, before, room, room-r.note)
		if len(omitted) > 0 {
			e.RemoteStatusOmitted = omission(e, omitted, r.share >= spacious)
		}
	}
	if e.RemoteStatus != nil {
		left -= len(`"remoteStatus":,`) + size(e.RemoteStatus, budget)
	}
	e.RemoteStatusOmitted = take("remoteStatusOmitted", e.RemoteStatusOmitted, r.note)
	e.HealthMessage = take("healthMessage", e.HealthMessage, budget)
}

// omission tells what was left out, and where it is whole.
func omission(e *federated.UnitStatus, omitted []string, spacious bool) string {
	const fields = 80
	what := strings.Join(omitted, ", ")
	if e.RemoteStatus == nil {
		what = "all"
	}
	if e.RemoteStatusOmitted != "" {
		what += ", and more" // than what is known of a member that cannot be read now
	}
	if !spacious {
		return what
	}
	where := "in member " + e.Cluster
	if e.MemberNamespace != "" {
		where += ", namespace " + e.MemberNamespace
	}
	return bounded(what, fields) + ": too large to be told here; read the object " + where
}

// essential are fields that tell most in few bytes. They are kept before others.
var essential = []string{"readyReplicas", "availableReplicas", "phase", "numberReady", "succeeded", "replicas", "updatedReplicas",
	"desiredNumberScheduled", "failed", "observedGeneration"}

// cut keeps the fields of a status that fit: all of them within the room for a whole one, or else the small ones first,
// in an order that does not depend on their sizes. What was left out before comes back only when there is room to
// spare, and what was kept stays as long as there is room at all: a size that sways around a border changes nothing.
func cut(status map[string]any, before *federated.UnitStatus, whole, room int) (kept map[string]any, omitted []string) {
	var had map[string]any
	wasCut := before != nil && before.RemoteStatusOmitted != ""
	if wasCut {
		whole, had = spare(whole), before.RemoteStatus
	}
	if size(status, whole) <= whole {
		return status, nil
	}
	used := len("{}")
	for _, field := range order(status) {
		allowed := spare(room)
		if _, there := had[field]; there {
			allowed = room
		}
		cost := encoded(field) + len(`"":,`) + size(status[field], allowed-used)
		if used+cost > allowed {
			omitted = append(omitted, field)
			continue
		}
		if kept == nil {
			kept = map[string]any{}
		}
		kept[field] = status[field]
		used += cost
	}
	slices.Sort(omitted)
	return kept, omitted
}

func spare(room int) int { return room - room/8 }

// order is that in which fields are kept: the essential ones, then others that are no lists or objects, then the rest.
func order(status map[string]any) []string {
	rank := func(field string) int {
		if i := slices.Index(essential, field); i >= 0 {
			return i
		}
		switch status[field].(type) {
		case map[string]any, []any:
			return len(essential) + 1
		}
		return len(essential)
	}
	return slices.SortedFunc(maps.Keys(status), func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

// within cuts a text so that it takes no more than so many bytes when it is encoded.
func within(text string, limit int) string {
	const least = 8 // less says nothing
	if encoded(text) <= limit {
		return text
	}
	if limit < least {
		return ""
	}
	used, end := len("…"), 0
	for end < len(text) {
		r, width := utf8.DecodeRuneInString(text[end:])
		if used += encodedRune(r, width); used > limit {
			break
		}
		end += width
	}
	return text[:end] + "…"
}
