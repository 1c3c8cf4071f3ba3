package retain

import (
	"fmt"
	"strconv"
	"strings"
)

// match finds, for each entry of a list, the one that is the same in another list; -1 = there is none.
func (f *rule) match(list, other []any) []int {
	out := make([]int, len(list))
	ours, oursOK := f.names(list)
	theirs, theirsOK := f.names(other)
	if !oursOK || !theirsOK {
		for i := range out {
			out[i] = -1
			if i < len(other) {
				out[i] = i
			}
		}
		return out
	}
	at := make(map[string]int, len(theirs))
	for j, name := range theirs {
		at[name] = j
	}
	for i, name := range ours {
		j, there := at[name]
		if out[i] = j; !there {
			out[i] = -1
		}
	}
	return out
}

// names are what the entries of a list are called; false = they have no names, or one has another's.
func (f *rule) names(list []any) ([]string, bool) {
	seen := make(map[string]bool, len(list))
	names := make([]string, 0, len(list))
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			return nil, false
		}
		name, ok := f.name(m)
		if !ok || seen[name] {
			return nil, false
		}
		seen[name] = true
		names = append(names, name)
	}
	return names, true
}

func (f *rule) name(entry map[string]any) (string, bool) {
	if f.keys == nil {
		name, ok := entry["name"].(string)
		return name, ok && name != ""
	}
	parts := make([]string, 0, len(f.keys))
	for _, key := range f.keys {
		value := entry[key]
		switch {
		case value == nil && key == "protocol":
			value = "TCP" // the API's default
		case value == nil:
			value = ""
		}
		parts = append(parts, fmt.Sprint(value))
	}
	return strings.Join(parts, "\x00"), true
}

// named tells whether an entry of a list is meant by a part of a pointer: by its index or by its name.
func named(list []any, i int, token string) bool {
	if n, err := strconv.Atoi(token); err == nil {
		return n == i
	}
	m, _ := list[i].(map[string]any)
	return m["name"] == token
}
