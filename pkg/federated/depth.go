package federated

// MaxDepth is how deep a spec, or a member's status in an entry, may be nested. JSON ends at 10000 levels for the API
// server, and lists and conversions put levels of their own around an object: one that came just below the end would
// fail every list of its type, and so hold up everybody's objects.
const MaxDepth = 1000

// Deeper tells whether a value is nested more than so many levels deep.
func Deeper(v any, levels int) bool {
	if levels < 0 {
		return true
	}
	switch c := v.(type) {
	case map[string]any:
		for _, e := range c {
			if Deeper(e, levels-1) {
				return true
			}
		}
	case []any:
		for _, e := range c {
			if Deeper(e, levels-1) {
				return true
			}
		}
	}
	return false
}
