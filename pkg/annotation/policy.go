package annotation

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/glob"
)

// Policy says which keys of annotations are spec. The zero value is KubeFed's: none are, and what overrides say of
// annotations is written as it is said.
type Policy struct {
	take, out []string
}

// longest is how long a key of an annotation may be: a prefix of 253, a slash, a name of 63.
const longest = 253 + 1 + 63

// Parse reads patterns: keys in which * stands for any characters; a leading ! takes keys out again. What cannot be read
// is said with its path; the policy is then of no use.
func Parse(patterns []string, at *field.Path) (Policy, field.ErrorList) {
	var p Policy
	var errs field.ErrorList
	for i, pattern := range patterns {
		key, excludes := strings.CutPrefix(pattern, "!")
		if why := fault(key, excludes); why != "" {
			errs = append(errs, field.Invalid(at.Index(i), pattern, why))
			continue
		}
		if excludes {
			p.out = append(p.out, key)
		} else {
			p.take = append(p.take, key)
		}
	}
	if len(errs) == 0 && len(p.take) == 0 && len(p.out) > 0 {
		errs = append(errs, field.Invalid(at, patterns, "only takes keys out: say first which keys propagate, for example *"))
	}
	for _, list := range []*[]string{&p.take, &p.out} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p, errs
}

// fault is what is wrong with a pattern; "" = nothing.
func fault(pattern string, excludes bool) string {
	switch {
	case pattern == "":
		return "is empty: write the key of an annotation, with * for any characters"
	case len(pattern) > longest:
		return fmt.Sprintf("is longer than the key of an annotation may be (%d characters)", longest)
	case strings.Count(pattern, "/") > 1:
		return "has more than one slash: the key of an annotation has one at most"
	case strings.HasPrefix(pattern, "/") || strings.HasSuffix(pattern, "/"):
		return "begins or ends with a slash: the key of an annotation is name or prefix/name"
	}
	for _, r := range pattern {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./*", r) {
			return fmt.Sprintf("has %q, which the key of an annotation cannot have", r)
		}
	}
	if !excludes && neverMatches(pattern) {
		return "never matches: these keys belong to the plane or to Kubernetes itself"
	}
	return ""
}

// neverMatches tells whether all that a pattern could match is reserved. It need not find every such pattern.
func neverMatches(pattern string) bool {
	prefix, _, prefixed := strings.Cut(pattern, "/")
	if !strings.Contains(pattern, "*") {
		return Reserved(pattern)
	}
	return prefixed && !strings.Contains(prefix, "*") && reservedPrefix(prefix)
}

// Empty tells whether there are no patterns: KubeFed's behaviour.
func (p Policy) Empty() bool { return len(p.take) == 0 }

// Matches tells whether a key is spec.
func (p Policy) Matches(key string) bool {
	matches := func(pattern string) bool { return glob.Match(pattern, key) }
	return slices.ContainsFunc(p.take, matches) && !slices.ContainsFunc(p.out, matches) && !Reserved(key)
}

// String names the policy: policies of equal names match equal keys.
func (p Policy) String() string {
	words := slices.Clone(p.take)
	for _, key := range p.out {
		words = append(words, "!"+key)
	}
	return strings.Join(words, " ")
}
