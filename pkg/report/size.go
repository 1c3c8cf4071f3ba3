package report

import (
	"encoding/json"
	"unicode/utf8"
)

// size is how many bytes a value takes as JSON, as an API server encodes it. It stops counting beyond a limit: what is
// far too large costs no more than what just fits.
func size(v any, limit int) int {
	switch c := v.(type) {
	case map[string]any:
		n := len("{}")
		for key, value := range c {
			if n > limit {
				return n
			}
			n += encoded(key) + len(`"":,`) + size(value, limit-n)
		}
		return n - min(len(c), 1) // the last one has no comma
	case []any:
		n := len("[]")
		for _, value := range c {
			if n > limit {
				return n
			}
			n += len(",") + size(value, limit-n)
		}
		return n - min(len(c), 1)
	case string:
		return len(`""`) + encoded(c)
	case bool:
		if c {
			return len("true")
		}
		return len("false")
	case nil:
		return len("null")
	case int64:
		return digits(c)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return limit + 1
	}
	return len(raw)
}

func digits(n int64) int {
	d := 1
	if n < 0 {
		d++
	}
	for ; n > 9 || n < -9; n /= 10 {
		d++
	}
	return d
}

// encoded is how many bytes a text takes between its quotes.
func encoded(s string) int {
	n := 0
	for i := 0; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		n += encodedRune(r, width)
		i += width
	}
	return n
}

func encodedRune(r rune, width int) int {
	switch {
	case r == '"', r == '\\', r == '\n', r == '\r', r == '\t', r == '\b', r == '\f':
		return 2
	case r < ' ', r == '<', r == '>', r == '&', r == '\u2028', r == '\u2029', r == utf8.RuneError && width <= 1:
		return 6
	}
	return width
}
