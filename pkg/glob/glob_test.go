package glob_test

import (
	"strings"
	"testing"

	"github.com/cellfed/cellfed/pkg/glob"
)

func TestAStarStandsForAnyCharactersAndNothingElseDoes(t *testing.T) {
	for name, c := range map[string]struct {
		pattern, name string
		want          bool
	}{
		"a word matches itself":                       {"acme", "acme", true},
		"a word does not match what begins with it":   {"acme", "acme-prod", false},
		"a star matches nothing too":                  {"acme*", "acme", true},
		"a star at the end":                           {"acme-*", "acme-prod", true},
		"a star at the beginning":                     {"*.io/x", "a.b.io/x", true},
		"what stands around a star may not overlap":   {"aba*ba", "aba", false},
		"stars in the middle take what comes first":   {"a*b*c", "a-b-b-c", true},
		"what is missing between two stars":           {"a*x*c", "a-b-c", false},
		"a question mark is a character as any other": {"acm?", "acme", false},
		"the empty pattern matches the empty name":    {"", "", true},
		"two stars are one":                           {"**", "anything", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := glob.Match(c.pattern, c.name); got != c.want {
				t.Errorf("Match(%q, %q) is %t", c.pattern, c.name, got)
			}
		})
	}
}

func TestNoPatternTakesLong(t *testing.T) {
	if glob.Match(strings.Repeat("a*", 10_000)+"b", strings.Repeat("a", 100_000)) {
		t.Error("it matches")
	}
}
