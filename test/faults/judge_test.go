package faults

import (
	"slices"
	"strings"
	"testing"
)

// A log of two objects: a is made, changed, deleted and made again; f is made, its status written, and deleted in two steps.
var logOfTwo = []entry{
	{revision: 1, created: 1, key: "/c/a", mark: "m1"},
	{revision: 2, created: 1, previous: 1, key: "/c/a", mark: "m2"},
	{revision: 3, created: 3, key: "/f/f", mark: "m3"},
	{revision: 4, created: 3, previous: 3, key: "/f/f", mark: "m3"},
	{revision: 5, created: 1, previous: 2, key: "/c/a", deleted: true},
	{revision: 6, created: 3, previous: 4, key: "/f/f", mark: "m3", doomed: true},
	{revision: 7, created: 7, key: "/c/a", mark: "m4"},
	{revision: 8, created: 3, previous: 6, key: "/f/f", deleted: true},
}

// whatFits are notes that fit it.
func whatFits() *notes {
	return &notes{
		writes: []write{
			{verb: "create", key: "/c/a", mark: "m1", outcome: acknowledged, revision: 1},
			{verb: "update", key: "/c/a", mark: "m2", claimed: 1, outcome: unknown},
			{verb: "create", key: "/f/f", mark: "m3", outcome: acknowledged, revision: 3},
			{verb: "update", key: "/c/a", mark: "m5", claimed: 1, known: 1, outcome: refused, reason: "Conflict"},
			{verb: "delete", key: "/c/a", claimed: 2, outcome: acknowledged},
			{verb: "delete", key: "/f/f", claimed: 4, outcome: acknowledged, revision: 6},
			{verb: "create", key: "/c/a", mark: "m4", outcome: unknown},
			{verb: "create", key: "/c/a", mark: "m6", known: 7, outcome: refused, reason: "AlreadyExists"},
			{verb: "update", key: "/c/b", mark: "m7", outcome: unknown},
		},
		reads: []read{{seen: seen{"/c/a", "m2", 2}, found: true, known: 4}, {seen: seen{key: "/c/a"}, known: 4}},
		lists: []list{
			{how: "list", prefix: "/c/", known: 4, revision: 4, items: []seen{{"/c/a", "m2", 2}}},
			{how: "list", prefix: "/f/", known: 7, revision: 8},
		},
		watches: []watch{
			{how: "watch", prefix: "/c/", from: 1, events: []event{{"MODIFIED", seen{"/c/a", "m2", 2}}, {"BOOKMARK", seen{revision: 4}},
				{"DELETED", seen{"/c/a", "m2", 5}}, {"ADDED", seen{"/c/a", "m4", 7}}}},
			{how: "watch", prefix: "/f/", from: 2, events: []event{{"ADDED", seen{"/f/f", "m3", 3}}, {"MODIFIED", seen{"/f/f", "m3", 4}}}},
		},
	}
}

func owners(key string) owner {
	if strings.HasPrefix(key, "/f/") {
		return both
	}
	return clients
}

func TestTheJudgeFindsNothingInNotesThatFitTheLog(t *testing.T) {
	if found := judge(logOfTwo, whatFits(), owners); len(found) > 0 {
		t.Errorf("it found:\n%s", strings.Join(found, "\n"))
	}
}

func TestTheJudgeFindsThat(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(log []entry, n *notes) []entry
		says  string
	}{
		"an acknowledged create is lost": {func(log []entry, n *notes) []entry {
			n.writes = append(n.writes, write{verb: "create", key: "/c/z", mark: "m9", outcome: acknowledged, revision: 9})
			return log
		}, "lost: create m9"},
		"an acknowledged delete is lost": {func(log []entry, n *notes) []entry {
			n.writes = append(n.writes, write{verb: "delete", key: "/c/a", claimed: 7, outcome: acknowledged})
			return log
		}, "lost: delete"},
		"a delete was acknowledged twice":                   {func(log []entry, n *notes) []entry { n.writes = append(n.writes, n.writes[4]); return log }, "two deletes"},
		"an acknowledgement told another revision":          {func(log []entry, n *notes) []entry { n.writes[0].revision = 2; return log }, "is revision 1 of the log"},
		"a revision is older than one that was told before": {func(log []entry, n *notes) []entry { n.writes[2].known = 3; return log }, "had been told before it was sent"},
		"a refused write has an effect": {func(log []entry, n *notes) []entry {
			n.writes[1].outcome, n.writes[1].reason = refused, "Conflict"
			return log
		}, "was refused"},
		"a refused delete has an effect": {func(log []entry, n *notes) []entry {
			n.writes[4].outcome, n.writes[4].reason = refused, "Conflict"
			return log
		}, "nobody deleted /c/a at 5"},
		"a refused delete with a finalizer has an effect": {func(log []entry, n *notes) []entry {
			n.writes[5].outcome, n.writes[5].reason = refused, "Conflict"
			return log
		}, "nobody deleted /f/f at 6"},
		"a conflict was none": {func(log []entry, n *notes) []entry { n.writes[3].claimed, n.writes[3].known = 7, 7; return log }, "refused without a reason"},
		"what is there exists already, they said, and it does not": {func(log []entry, n *notes) []entry { n.writes[7].key = "/c/z"; return log }, "refused without a reason"},
		"a refusal has no reason of the API server":                {func(log []entry, n *notes) []entry { n.writes[7].reason = "Invalid"; return log }, "a strange refusal"},
		"an entry is nobody's":                                     {func(log []entry, n *notes) []entry { n.writes = n.writes[1:]; return log }, "invented: nobody wrote entry 1"},
		"an entry is there twice": {func(log []entry, _ *notes) []entry {
			return append(log, entry{revision: 9, created: 7, previous: 7, key: "/c/a", mark: "m2"})
		}, "entry 9 of /c/a repeats entry 2"},
		"a write replaced what it had not seen": {func(log []entry, n *notes) []entry { n.writes[1].claimed = 0; return log }, "which was not claimed"},
		"a create replaced something":           {func(log []entry, n *notes) []entry { n.writes[1].verb = "create"; return log }, "which was not claimed"},
		"the log forks":                         {func(log []entry, _ *notes) []entry { log[3].previous = 2; return log }, "is on top of 2, not of 3"},
		"the log has a hole":                    {func(log []entry, _ *notes) []entry { return slices.Delete(log, 4, 5) }, "revision 6 where 5 belongs"},
		"a read is stale":                       {func(log []entry, n *notes) []entry { n.reads[0].known = 5; return log }, "was replaced before 5"},
		"a read shows another value":            {func(log []entry, n *notes) []entry { n.reads[0].mark = "m1"; return log }, `was shown as 2 "m1"`},
		"a read does not find what is there":    {func(log []entry, n *notes) []entry { n.reads[1].known = 7; return log }, "was not found"},
		"a list is short":                       {func(log []entry, n *notes) []entry { n.lists[0].items = nil; return log }, "lacks 1"},
		"a list is stale":                       {func(log []entry, n *notes) []entry { n.lists[0].known = 5; return log }, "5 had been told before"},
		"a list shows what is gone":             {func(log []entry, n *notes) []entry { n.lists[0].revision = 5; return log }, "shows /c/a as 2"},
		"a list shows something twice": {func(log []entry, n *notes) []entry {
			n.lists[0].items = append(n.lists[0].items, n.lists[0].items[0])
			return log
		}, "twice"},
		"a list shows what never was": {func(log []entry, n *notes) []entry { n.lists[1].items = []seen{{"/f/z", "m1", 1}}; return log }, "never was"},
		"a list is of the future":     {func(log []entry, n *notes) []entry { n.lists[1].revision = 9; return log }, "the log ends at 8"},
		"a watch leaves out an event": {func(log []entry, n *notes) []entry { n.watches[0].events = n.watches[0].events[2:]; return log }, "left out 2"},
		"a watch repeats an event":    {func(log []entry, n *notes) []entry { n.watches[1].from = 3; return log }, "told ADDED 3 after 3"},
		"a watch tells in another order": {func(log []entry, n *notes) []entry {
			slices.Reverse(n.watches[1].events)
			return log
		}, "left out 3"},
		"a watch tells another value":  {func(log []entry, n *notes) []entry { n.watches[0].events[0].mark = "m1"; return log }, "and the log says"},
		"a watch tells another kind":   {func(log []entry, n *notes) []entry { n.watches[0].events[3].kind = "MODIFIED"; return log }, "and the log says"},
		"a bookmark runs ahead":        {func(log []entry, n *notes) []entry { n.watches[0].events[1].revision = 5; return log }, "told BOOKMARK 5"},
		"a watch tells what never was": {func(log []entry, n *notes) []entry { n.watches[0].events[3].revision = 9; return log }, "the log ends at 8"},
	} {
		t.Run(name, func(t *testing.T) {
			n := whatFits()
			found := judge(tt.spoil(slices.Clone(logOfTwo), n), n, owners)
			if !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, tt.says) }) {
				t.Errorf("it found %q, want something with %q", found, tt.says)
			}
		})
	}
}
