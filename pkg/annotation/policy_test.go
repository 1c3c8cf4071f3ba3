package annotation

import (
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/glob"
)

func policy(t testing.TB, patterns ...string) Policy {
	t.Helper()
	p, errs := Parse(patterns, field.NewPath("patterns"))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	return p
}

func TestPatternsTakeKeysInAndOut(t *testing.T) {
	for _, tc := range []struct {
		patterns string
		key      string
		want     bool
	}{
		{"", "a", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "anything", true},
		{"*", "any.thing/at-all", true},
		{"lb.example.com/*", "lb.example.com/protocol", true},
		{"lb.example.com/*", "lb.example.com", false},
		{"lb.example.com/*", "xlb.example.com/protocol", false},
		{"*.example.com/spec-*", "lb.example.com/spec-port", true},
		{"*.example.com/spec-*", "lb.example.com/status-port", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "ac", false},
		{"ab*ba", "aba", false},
		{"* !*/status-*", "lb.example.com/status-ip", false},
		{"* !*/status-*", "lb.example.com/spec-ip", true},
		{"!*/status-* *", "lb.example.com/status-ip", false},
		{"x/* !x/a x/a", "x/a", false},
		// Never, whatever the patterns say.
		{"*", "cellfed.io/owner", false},
		{"*", "tenancy.cellfed.io/tenant", false},
		{"*", "kubefed.io/orphan", false},
		{"*", "kubectl.kubernetes.io/last-applied-configuration", false},
		{"*", "deployment.kubernetes.io/revision", false},
		{"*", "kubernetes.io/config.hash", false},
		{"kubernetes.io/*", "kubernetes.io/ingress.class", true},
		{"*", "notcellfed.io/owner", true},
	} {
		if got := policy(t, strings.Fields(tc.patterns)...).Matches(tc.key); got != tc.want {
			t.Errorf("patterns %q, key %q: %t, want %t", tc.patterns, tc.key, got, tc.want)
		}
	}
}

func TestMalformedPatternsAreToldWithTheirPath(t *testing.T) {
	for pattern, want := range map[string]string{
		"!":                     "is empty",
		"a b":                   "which the key",
		"a/b/c":                 "more than one slash",
		"/a":                    "slash",
		"a/":                    "slash",
		"cellfed.io/owner":      "never matches",
		"kubefed.io/*":          "never matches",
		"topology.cellfed.io/*": "never matches",
		"kubectl.kubernetes.io/last-applied-configuration": "never matches",
		strings.Repeat("a", 318):                           "longer",
	} {
		_, errs := Parse([]string{"ok", pattern}, field.NewPath("spec", "propagatingAnnotations"))
		if len(errs) != 1 || errs[0].Field != "spec.propagatingAnnotations[1]" || !strings.Contains(errs[0].Detail, want) {
			t.Errorf("%q: %v, want %q", pattern, errs, want)
		}
	}
	if _, errs := Parse([]string{"!a"}, field.NewPath("p")); len(errs) != 1 || !strings.Contains(errs[0].Detail, "only takes keys out") {
		t.Errorf("nothing but an exclude: %v", errs)
	}
}

func TestTheOrderOfPatternsSaysNothing(t *testing.T) {
	a, b := policy(t, "x/*", "!x/a", "y"), policy(t, "y", "!x/a", "x/*", "y")
	if a.String() != b.String() {
		t.Errorf("%q and %q", a, b)
	}
	if !(Policy{}).Empty() || a.Empty() || (Policy{}).String() != "" {
		t.Error("only no patterns are no patterns")
	}
}

// FuzzMatch compares with the same pattern as a regular expression.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"a*b", "aXb"}, {"*", ""}, {"**", "x"}, {"a*a", "a"}, {"*.x/*", "b.x/c"}, {"a*b*c*", "abcabc"}, {"*aab", "aaaab"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if len(pattern) > 64 || len(key) > 256 || strings.Contains(key, "\n") || !isASCII(pattern+key) {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want := regexp.MustCompile(`\A` + strings.Join(parts, `(?s:.*)`) + `\z`).MatchString(key)
		if got := glob.Match(pattern, key); got != want {
			t.Errorf("glob.Match(%q, %q) = %t, want %t", pattern, key, got, want)
		}
		p, errs := Parse([]string{pattern}, field.NewPath("p"))
		if len(errs) > 0 {
			return
		}
		if p.Matches(key) != (want && !Reserved(key)) {
			t.Errorf("the policy %q and %q: %t, reserved: %t", pattern, key, p.Matches(key), Reserved(key))
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 126 || r < 32 }) < 0
}
