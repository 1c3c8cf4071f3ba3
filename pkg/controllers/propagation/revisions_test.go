package propagation

import (
	"testing"
	"time"
)

// An object that is released every hour for years must not be remembered release by release.
func TestRevisionsThatTheCacheHasLongShownAreForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	key := objectKey{"acme", "web"}
	k := &carrier{Controller: &Controller{opts: Options{Now: func() time.Time { return now }}}, recorded: map[objectKey]map[string]made{}}
	k.noteMade(key, "first", made{at: now})
	now = now.Add(cacheLag)
	k.noteMade(key, "second", made{at: now})
	if _, just := k.justMade(key, "first"); !just {
		t.Error("what the cache may not show yet is forgotten")
	}
	now = now.Add(time.Second)
	k.noteMade(key, "third", made{at: now})
	if n := len(k.recorded[key]); n != 2 {
		t.Errorf("%d revisions are remembered, want the two last", n)
	}
}
