// Package glob matches names against patterns in which * stands for any characters.
//
// It must not know what the names are of: annotation keys and namespaces are matched alike, so that users learn one
// language. There is no ? and no class, because nobody would expect them in a key.
package glob

import "strings"

// Match tells whether a pattern matches a name. What stands between two stars is taken where it comes first: that is
// enough, since whatever matches later matches there; and it looks at each character at most once per star, so that no
// pattern takes long.
func Match(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	rest := name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return true
}
