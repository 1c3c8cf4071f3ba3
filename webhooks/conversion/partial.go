package conversion

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// raw is JSON that nobody has to look into. It is valid, and stays as it was written.
type raw string

// shape says how far to decode a value: not at all where it is nil; else strings and the containers, with the shapes of
// what they hold. What is not a string or container stays raw in any case.
type shape struct {
	fields map[string]*shape
	items  *shape
	all    bool // everything below, whatever it is
	entry  bool // an object to decode as an entry instead of a map
}

var (
	text       = &shape{}
	everything = &shape{all: true}

	entries = &shape{items: &shape{entry: true, fields: map[string]*shape{"name": text, "clusterName": text, "topologyName": text}}}
	places  = &shape{fields: map[string]*shape{
		"clusters": entries, "topologies": entries, "clusterSelector": everything, "topologySelector": everything,
	}}

	// federatedObject is what conversion can touch of a federated object, and what it reads to do so.
	federatedObject = &shape{fields: map[string]*shape{
		"apiVersion": text,
		"metadata":   {fields: map[string]*shape{"namespace": text}},
		"spec": {fields: map[string]*shape{
			"topologyType": text, "placement": places, "placementMask": places, "overrides": entries,
		}},
		"status": {fields: map[string]*shape{"clusters": entries, "topologies": entries}},
	}}
)

func (s *shape) field(key string) *shape {
	if s.all {
		return s
	}
	return s.fields[key]
}

func (s *shape) item() *shape {
	if s.all {
		return s
	}
	return s.items
}

// maxDepth is where encoding/json gives up too. No API server has an object that is nested so deeply.
const maxDepth = 10000

// decode reads one JSON value as far as its shape says. It accepts what encoding/json accepts, also in the parts that
// stay raw. It takes a string because then keys, values and raw parts are parts of it, not copies.
func decode(data string, s *shape) (any, error) {
	d := &decoder{data: data}
	d.space()
	v, err := d.value(s, 0)
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", d.pos, err)
	}
	d.space()
	if d.pos != len(data) {
		return nil, fmt.Errorf("at byte %d: something follows the JSON value", d.pos)
	}
	return v, nil
}

var (
	errEnd     = errors.New("unexpected end of JSON")
	errLiteral = errors.New("no JSON value starts like this")
	errString  = errors.New("invalid JSON string")
	errDepth   = errors.New("nested too deeply")
)

type decoder struct {
	data string
	pos  int

	fields  []field // of all entries, one after the other
	entries []entry
}

func (d *decoder) space() {
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// peek is the next byte, or 0 at the end, which is no byte of valid JSON outside strings.
func (d *decoder) peek() byte {
	if d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

func (d *decoder) expect(c byte) error {
	d.space()
	if d.peek() == c && d.pos < len(d.data) {
		d.pos++
		return nil
	}
	if d.pos >= len(d.data) {
		return errEnd
	}
	return fmt.Errorf("found %q where %q belongs", d.data[d.pos], c)
}

// value reads a value, with no space before it.
func (d *decoder) value(s *shape, depth int) (any, error) {
	start := d.pos
	switch {
	case s != nil && d.peek() == '{' && s.entry:
		return d.entry(s, depth)
	case s != nil && d.peek() == '{':
		return d.object(s, depth)
	case s != nil && d.peek() == '[':
		return d.array(s, depth)
	case s != nil && d.peek() == '"':
		return d.string()
	}
	if err := d.skip(depth); err != nil {
		return nil, err
	}
	return raw(d.data[start:d.pos]), nil
}

func (d *decoder) object(s *shape, depth int) (map[string]any, error) {
	out := map[string]any{}
	err := d.members(depth, func() error {
		key, err := d.string()
		if err != nil {
			return err
		}
		if err := d.expect(':'); err != nil {
			return err
		}
		d.space()
		v, err := d.value(s.field(key), depth+1)
		out[key] = v
		return err
	})
	return out, err
}

func (d *decoder) array(s *shape, depth int) ([]any, error) {
	out := []any{}
	err := d.members(depth, func() error {
		v, err := d.value(s.item(), depth+1)
		out = append(out, v)
		return err
	})
	return out, err
}

// members reads the brackets and commas of an object or array, and calls one for each thing in it.
func (d *decoder) members(depth int, one func() error) error {
	if depth >= maxDepth {
		return errDepth
	}
	closing := d.data[d.pos] + 2 // '[' and ']', '{' and '}' are two apart
	d.pos++
	d.space()
	if d.peek() == closing {
		d.pos++
		return nil
	}
	for {
		d.space()
		if err := one(); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
		case closing:
			d.pos++
			return nil
		default:
			return d.expect(closing)
		}
	}
}

// string reads a string, decoded.
func (d *decoder) string() (string, error) {
	start := d.pos
	plain, err := d.skipString()
	if err != nil {
		return "", err
	}
	quoted := d.data[start:d.pos]
	if plain {
		return quoted[1 : len(quoted)-1], nil
	}
	var s string
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		return "", errString
	}
	return s, nil
}

// skip passes over a value, checking it.
func (d *decoder) skip(depth int) error {
	switch c := d.peek(); c {
	case '"':
		_, err := d.skipString()
		return err
	case '[':
		return d.members(depth, func() error { return d.skip(depth + 1) })
	case '{':
		return d.members(depth, func() error {
			if _, err := d.skipString(); err != nil {
				return err
			}
			if err := d.expect(':'); err != nil {
				return err
			}
			d.space()
			return d.skip(depth + 1)
		})
	default:
		return d.skipLiteral()
	}
}

// skipString passes over a string. It is plain if it holds neither escapes nor anything but ASCII, so that its bytes are
// its value.
func (d *decoder) skipString() (plain bool, err error) {
	if d.pos >= len(d.data) {
		return false, errEnd
	}
	if d.data[d.pos] != '"' {
		return false, fmt.Errorf("found %q where a string belongs", d.data[d.pos])
	}
	plain = true
	for i := d.pos + 1; i < len(d.data); i++ {
		switch c := d.data[i]; {
		case c == '"':
			d.pos = i + 1
			return plain, nil
		case c == '\\':
			plain = false
			n := escapeLength(d.data[i:])
			if n == 0 {
				d.pos = i
				return false, errString
			}
			i += n - 1
		case c < ' ':
			d.pos = i
			return false, errString
		case c >= 0x80:
			plain = false
		}
	}
	d.pos = len(d.data)
	return false, errEnd
}

// escapeLength is the length of the escape that b starts with, 0 if it is none.
func escapeLength(b string) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range []byte(b[2:6]) {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// skipLiteral passes over a number, true, false or null.
func (d *decoder) skipLiteral() error {
	end := d.pos
	for end < len(d.data) && isLiteralByte(d.data[end]) {
		end++
	}
	switch literal := d.data[d.pos:end]; {
	case len(literal) == 0 && end == len(d.data):
		return errEnd
	case literal != "true" && literal != "false" && literal != "null" && !isNumber(literal):
		return errLiteral
	}
	d.pos = end
	return nil
}

func isLiteralByte(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNumber(b string) bool {
	digits := func() bool {
		n := len(b)
		for len(b) > 0 && isDigit(b[0]) {
			b = b[1:]
		}
		return len(b) < n
	}
	one := func(of string) bool {
		if len(b) == 0 || strings.IndexByte(of, b[0]) < 0 {
			return false
		}
		b = b[1:]
		return true
	}
	one("-")
	if !one("0") && !digits() {
		return false
	}
	if one(".") && !digits() {
		return false
	}
	if one("eE") {
		one("+-")
		if !digits() {
			return false
		}
	}
	return len(b) == 0
}

// encode appends a value that decode made, with the keys of objects in order.
func encode(out []byte, v any) []byte {
	switch v := v.(type) {
	case raw:
		return append(out, v...)
	case string:
		return encodeString(out, v)
	case []any:
		out = append(out, '[')
		for i, e := range v {
			if i > 0 {
				out = append(out, ',')
			}
			out = encode(out, e)
		}
		return append(out, ']')
	case *entry:
		return v.encode(out)
	case map[string]any:
		var room [8]string // most objects are small
		keys := room[:0]
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		out = append(out, '{')
		for i, key := range keys {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(encodeString(out, key), ':')
			out = encode(out, v[key])
		}
		return append(out, '}')
	default:
		panic(fmt.Sprintf("conversion: %T among decoded JSON", v))
	}
}

func encodeString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("conversion: a string does not encode: " + err.Error())
			}
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}
