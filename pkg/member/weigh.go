package member

// What decoded JSON takes in memory, in bytes. They are those of Go's maps, slices and interfaces, rounded up: what a
// member sends is judged before it is decoded, and a few bytes of it can become hundreds.
const (
	weighMap     = 336 // a map, with room for its first eight keys
	weighEntry   = 75  // a key beyond those
	weighList    = 40
	weighElement = 32
	weighValue   = 16
)

// scale weighs JSON text as it passes: how much memory it takes at most when it is decoded.
type scale struct {
	weight          int64
	quoted, escaped bool
}

func (s *scale) add(text []byte) {
	s.weight += int64(len(text))
	for _, c := range text {
		switch {
		case s.escaped:
			s.escaped = false
		case s.quoted:
			s.escaped = c == '\\'
			s.quoted = c != '"'
		case c == '"':
			s.quoted = true
		case c == '{':
			s.weight += weighMap
		case c == ':':
			s.weight += weighEntry
		case c == '[':
			s.weight += weighList
		case c == ',':
			s.weight += weighElement
		}
	}
}

// weighRaw tells how much memory a JSON text takes at most when it is decoded.
func weighRaw(raw []byte) int64 {
	s := scale{}
	s.add(raw)
	return s.weight
}

// Weigh tells how much memory a decoded object takes, roughly and in bytes.
func Weigh(object map[string]any) int64 { return weigh(object) }

func weigh(v any) int64 {
	switch c := v.(type) {
	case map[string]any:
		weight := int64(weighMap)
		if extra := len(c) - 8; extra > 0 {
			weight += int64(extra) * weighEntry
		}
		for k, e := range c {
			weight += weighValue + int64(len(k)) + weigh(e)
		}
		return weight
	case []any:
		weight := int64(weighList)
		for _, e := range c {
			weight += weighElement/2 + weigh(e)
		}
		return weight
	case string:
		return weighValue + int64(len(c))
	}
	return weighValue / 2
}
