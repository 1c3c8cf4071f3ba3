package propagation

import (
	"encoding/json"
	"testing"
	"time"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/cellfed/cellfed/pkg/apply"
)

const told = `{
	"observedGeneration": 4,
	"summary": {"units": "2/2", "held": "0", "healthy": "1/2"},
	"conditions": [
		{"type": "Propagation", "status": "True", "lastUpdateTime": "2026-11-21T10:00:00Z"},
		{"type": "Healthy", "status": "False", "reason": "Progressing"},
		{"type": "Theirs", "status": "True"}],
	"clusters": [
		{"name": "a", "revision": "r2", "version": "v", "inventory": true, "generation": 2, "health": "Progressing", "healthMessage": "1 of 3", "remoteStatus": {"replicas": 1}},
		{"name": "b", "revision": "r2", "version": "v", "inventory": true, "generation": 2}]
}`

func status(t *testing.T) map[string]any {
	t.Helper()
	var s map[string]any
	if err := utiljson.Unmarshal([]byte(told), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(s map[string]any, i int) map[string]any { return s["clusters"].([]any)[i].(map[string]any) }

func conditionAt(s map[string]any, i int) map[string]any {
	return s["conditions"].([]any)[i].(map[string]any)
}

func TestOnlyNewsOfHowCopiesAreDoingMayWait(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(s map[string]any)
		urgent bool
	}{
		"nothing":                    {func(map[string]any) {}, false},
		"a member's status":          {func(s map[string]any) { entry(s, 0)["remoteStatus"] = map[string]any{"replicas": int64(2)} }, false},
		"a member's first status":    {func(s map[string]any) { entry(s, 1)["remoteStatus"] = map[string]any{} }, false},
		"what was left out":          {func(s map[string]any) { entry(s, 1)["remoteStatusOmitted"] = "all" }, false},
		"the copy's generation":      {func(s map[string]any) { entry(s, 0)["generation"] = int64(3) }, false},
		"health, and what is said":   {func(s map[string]any) { entry(s, 0)["health"], entry(s, 0)["healthMessage"] = "Healthy", "" }, false},
		"the healthy revision":       {func(s map[string]any) { entry(s, 0)["healthyRevision"] = "r2" }, false},
		"how many are healthy":       {func(s map[string]any) { part(s["summary"])["healthy"] = "2/2" }, false},
		"the condition Healthy":      {func(s map[string]any) { conditionAt(s, 1)["status"] = "True" }, false},
		"its first appearance":       {func(s map[string]any) { conditionAt(s, 1)["type"] = "Healthy" }, false},
		"a code":                     {func(s map[string]any) { entry(s, 0)["status"] = "ClusterNotReady" }, true},
		"a message":                  {func(s map[string]any) { entry(s, 1)["message"] = "quota" }, true},
		"a revision":                 {func(s map[string]any) { entry(s, 0)["revision"] = "r3" }, true},
		"a version":                  {func(s map[string]any) { entry(s, 0)["version"] = "w" }, true},
		"the inventory":              {func(s map[string]any) { delete(entry(s, 0), "inventory") }, true},
		"a unit is held":             {func(s map[string]any) { entry(s, 0)["held"] = true }, true},
		"a unit is behind":           {func(s map[string]any) { entry(s, 0)["behind"] = int64(1) }, true},
		"a unit more":                {func(s map[string]any) { s["clusters"] = append(s["clusters"].([]any), map[string]any{"name": "c"}) }, true},
		"a unit less":                {func(s map[string]any) { s["clusters"] = s["clusters"].([]any)[:1] }, true},
		"another unit":               {func(s map[string]any) { entry(s, 1)["name"] = "c" }, true},
		"the generation":             {func(s map[string]any) { s["observedGeneration"] = int64(5) }, true},
		"how many are as asked":      {func(s map[string]any) { part(s["summary"])["units"] = "1/2" }, true},
		"Propagation":                {func(s map[string]any) { conditionAt(s, 0)["status"] = "False" }, true},
		"somebody else's condition":  {func(s map[string]any) { conditionAt(s, 2)["status"] = "False" }, true},
		"a condition less":           {func(s map[string]any) { s["conditions"] = s["conditions"].([]any)[:2] }, true},
		"health and a code together": {func(s map[string]any) { entry(s, 0)["health"], entry(s, 0)["status"] = "Unknown", "ClusterNotReady" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := status(t), status(t)
			tc.change(after)
			for _, pair := range [][2]map[string]any{{before, after}, {after, before}} {
				if got := urgent(pair[0], pair[1]); got != tc.urgent {
					t.Errorf("urgent: %t, want %t", got, tc.urgent)
				}
			}
		})
	}
	if !urgent(nil, status(t)) {
		t.Error("the first status of all waits")
	}
}

func TestTheFirstNewsIsToldAtOnceAndTheRestAfterAPause(t *testing.T) {
	p := &pacer{}
	key, other := apply.Key{Type: "t", Name: "web"}, apply.Key{Type: "t", Name: "other"}
	begin := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	before, after, code := status(t), status(t), status(t)
	entry(after, 0)["health"], entry(code, 0)["status"] = "Healthy", "UpdateFailed"
	expect := func(what string, at time.Duration, key apply.Key, s map[string]any, want time.Duration) {
		t.Helper()
		if got := p.wait(key, before, s, begin.Add(at)); got != want {
			t.Errorf("%s: waits %s, want %s", what, got, want)
		}
	}
	expect("the first news", 0, key, after, 0)
	p.wrote(key, begin)
	expect("news a moment later", 100*time.Millisecond, key, after, quietPause-100*time.Millisecond)
	expect("news of another object", 100*time.Millisecond, other, after, 0)
	expect("a code", 100*time.Millisecond, key, code, 0)
	expect("news after the pause", quietPause, key, after, 0)
	expect("news when the clock was set back", -time.Hour, key, after, 0)
	p.wrote(other, begin.Add(2*sweepPause))
	if len(p.last) != 1 {
		t.Errorf("%d objects are remembered", len(p.last))
	}
}

func TestOneObjectsStormCostsAFewWrites(t *testing.T) {
	p, key := &pacer{}, apply.Key{Name: "web"}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	end := at.Add(10 * time.Second)
	stored, writes := status(t), 0
	for n := int64(0); at.Before(end); n++ {
		now := status(t)
		entry(now, 0)["remoteStatus"] = map[string]any{"replicas": n}
		if p.wait(key, stored, now, at) == 0 {
			raw, err := json.Marshal(now)
			if err != nil {
				t.Fatal(err)
			}
			stored = map[string]any{}
			if err := utiljson.Unmarshal(raw, &stored); err != nil {
				t.Fatal(err)
			}
			p.wrote(key, at)
			writes++
		}
		at = at.Add(10 * time.Millisecond)
	}
	if writes != 25 {
		t.Errorf("1000 changes in 10 seconds make %d writes, want one in %s", writes, quietPause)
	}
}
