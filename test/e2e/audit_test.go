package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// request is a line of a member's audit log.
type request struct {
	Stage, StageTimestamp, Verb, UserAgent, RequestURI string
	User                                               struct{ Username string }
	ObjectRef                                          struct{ Resource, Namespace, Name string }
}

// requests are what the plane's service account asked a member so far.
func requests(t *testing.T, member string) []request {
	t.Helper()
	return slices.DeleteFunc(auditLog(t, member), func(r request) bool {
		return !strings.HasPrefix(r.User.Username, "system:serviceaccount:kube-federation-system:")
	})
}

// auditLog is what anybody asked a member so far.
func auditLog(t *testing.T, member string) []request {
	t.Helper()
	f, err := os.Open(world.members.Named(member).AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []request
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			continue // the last line may be half written
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// isWrite tells whether a request was a write that is done.
func (r *request) isWrite() bool {
	return r.Stage == "ResponseComplete" && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

// writes counts the plane's writes to all members so far.
func writes(t *testing.T) int {
	t.Helper()
	n := 0
	for _, m := range world.members.Members {
		for _, r := range requests(t, m.Name) {
			if r.isWrite() {
				n++
			}
		}
	}
	return n
}

// lastWrites are at most n of each member's last writes, for people to read.
func lastWrites(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for _, m := range world.members.Members {
		var all []string
		for _, r := range requests(t, m.Name) {
			if r.isWrite() {
				all = append(all, fmt.Sprintf("%s: %s %s %s", m.Name, r.StageTimestamp, r.Verb, r.RequestURI))
			}
		}
		out = append(out, all[max(0, len(all)-n):]...)
	}
	return out
}

func TestThereIsOneWatchPerKindAndMemberHoweverManyUnits(t *testing.T) {
	w := newTenant(t, "onewatch", "a "+east+" onewatch-a", "b "+east+" onewatch-b", "c "+east+" onewatch-c")
	w.apply(w.config("web", "1", placed("a", "b", "c")))
	w.has("web", "a=1", "b=1", "c=1")
	open := 0
	for _, r := range requests(t, east) {
		if r.Verb != "watch" || r.ObjectRef.Resource != "configmaps" {
			continue
		}
		switch r.Stage {
		case "ResponseStarted":
			open++
		case "ResponseComplete":
			open--
		}
	}
	if open != 1 {
		t.Errorf("%d watches of ConfigMaps are open in member %s, want 1", open, east)
	}
}

func contains(list, word string) bool { return slices.Contains(strings.Fields(list), word) }
