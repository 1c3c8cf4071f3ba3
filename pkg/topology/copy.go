package topology

import "maps"

// copyOfTouched is a copy of exactly what convert may change: the way down to every entry that can hold a name. All else
// is shared with obj.
func copyOfTouched(obj map[string]any) map[string]any {
	out := maps.Clone(obj)
	if spec, ok := obj["spec"].(map[string]any); ok {
		spec = maps.Clone(spec)
		for _, key := range selections {
			if p, ok := spec[key].(map[string]any); ok {
				spec[key] = copyOfLists(p)
			}
		}
		copyEntries(spec, overrides)
		out["spec"] = spec
	}
	if status, ok := obj["status"].(map[string]any); ok {
		out["status"] = copyOfLists(status)
	}
	return out
}

func copyOfLists(m map[string]any) map[string]any {
	out := maps.Clone(m)
	copyEntries(out, clusters)
	copyEntries(out, topologies)
	return out
}

// copyEntries replaces the list under key by one with copies of its objects. A list that is nil in memory encodes as
// null, unlike an empty one, and stays what it is.
func copyEntries(m map[string]any, key string) {
	list, ok := m[key].([]any)
	if !ok || list == nil {
		return
	}
	out := make([]any, len(list))
	for i, e := range list {
		if entry, ok := e.(map[string]any); ok {
			e = maps.Clone(entry)
		}
		out[i] = e
	}
	m[key] = out
}
