package topology

// Entry is an object in a list of units or overrides, as far as conversion in place has to do with it. Plain maps are
// taken too; this is for who decodes hundreds of entries at a time and does not want a map for each.
type Entry interface {
	// Text is the value of a key, if the key is there and its value a string.
	Text(key string) (text string, ok, has bool)
	// Rename removes a key that is there and sets another one, which is not there or is the same, to a string.
	Rename(key, newKey, text string)
	// Trade gives each key the value, or the absence, of the other.
	Trade(a, b string)
}

func asEntry(v any) (Entry, bool) {
	switch v := v.(type) {
	case map[string]any:
		return mapEntry(v), true
	case Entry:
		return v, true
	default:
		return nil, false
	}
}

type mapEntry map[string]any

// Text implements Entry.
func (m mapEntry) Text(key string) (text string, ok, has bool) {
	v, has := m[key]
	text, ok = v.(string)
	return text, ok, has
}

// Rename implements Entry.
func (m mapEntry) Rename(key, newKey, text string) {
	if newKey != key {
		delete(m, key)
	}
	m[newKey] = text
}

// Trade implements Entry.
func (m mapEntry) Trade(a, b string) { tradeKeys(m, a, b) }
