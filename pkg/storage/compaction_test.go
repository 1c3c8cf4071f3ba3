package storage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// An API server forgets what is older than some minutes; here minutes are seconds.
func TestCompactionKeepsTheTableSmallWhileItIsWritten(t *testing.T) {
	const (
		live, rounds = 100, 6
		each         = 100 // writes in a round; a round's history is what is kept
	)
	onSQL(t, func(t *testing.T, endpoint string) {
		s := serve(t, endpoint)
		c := client(t, s)
		value := strings.Repeat("v", 1024)
		var before, revision int64
		var took []time.Duration
		most := 0
		for round := range rounds {
			for n := range each {
				at := time.Now()
				put, err := c.Put(t.Context(), fmt.Sprint("/r/", (round*each+n)%live), value)
				if err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(at))
				revision = put.Header.Revision
			}
			if before > 0 {
				if _, err := c.Compact(t.Context(), before); err != nil {
					t.Fatal(err)
				}
			}
			before = revision
			if round > 2 {
				most = max(most, rowCount(t, s))
			}
		}
		slices.Sort(took)
		t.Logf("at most %d rows; writes p50 %s, p99 %s, longest %s", most, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		if limit := 2 * (live + 2*each); most > limit {
			t.Errorf("%d rows while there are %d keys and a history of up to %d revisions: more than %d", most, live, 2*each, limit)
		}
		eventually(t, "what was compacted is removed", func() bool { return rowCount(t, s) <= live+each+2 })
	})
}
