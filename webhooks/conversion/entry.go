package conversion

import "github.com/cellfed/cellfed/pkg/topology"

// entry is an object with few keys, one after the other as they were written. An object with 64 units has some 256 of
// them: as maps, they would cost more than all the rest of a review.
type entry struct{ fields []field }

type field struct {
	key, value string
	text       bool // value is a decoded string; otherwise it is raw
}

var _ topology.Entry = (*entry)(nil)

// maxEntry is how many keys are still few: each is compared with all before it. An object with more becomes a map.
const maxEntry = 16

// entry reads an object as an entry. As everywhere in JSON decoding, the last one of equal keys counts.
func (d *decoder) entry(s *shape, depth int) (any, error) {
	if d.entries == nil { // room for entries of a usual size, should the rest of the object consist of them
		rest := min(len(d.data)-d.pos, 64<<10)
		d.fields, d.entries = make([]field, 0, rest/48), make([]entry, 0, rest/96+1)
	}
	start, first, tooMany := d.pos, len(d.fields), false
	err := d.members(depth, func() error {
		key, err := d.string()
		if err != nil {
			return err
		}
		if err := d.expect(':'); err != nil {
			return err
		}
		d.space()
		f := field{key: key}
		if f.text = s.fields[key] != nil && d.peek() == '"'; f.text {
			f.value, err = d.string()
		} else {
			from := d.pos
			err = d.skip(depth + 1)
			f.value = d.data[from:d.pos]
		}
		e := entry{d.fields[first:]}
		switch old := e.find(key); {
		case old != nil:
			*old = f
		case len(e.fields) == maxEntry:
			tooMany = true
		default:
			d.fields = append(d.fields, f)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if tooMany {
		d.fields = d.fields[:first]
		d.pos = start
		return d.object(s, depth)
	}
	end := len(d.fields)
	d.entries = append(d.entries, entry{d.fields[first:end:end]})
	return &d.entries[len(d.entries)-1], nil
}

func (e *entry) find(key string) *field {
	for i := range e.fields {
		if e.fields[i].key == key {
			return &e.fields[i]
		}
	}
	return nil
}

// Text implements topology.Entry.
func (e *entry) Text(key string) (text string, ok, has bool) {
	f := e.find(key)
	if f == nil {
		return "", false, false
	}
	return f.value, f.text, true
}

// Rename implements topology.Entry.
func (e *entry) Rename(key, newKey, text string) {
	*e.find(key) = field{key: newKey, value: text, text: true}
}

// Trade implements topology.Entry.
func (e *entry) Trade(a, b string) {
	for i := range e.fields {
		switch f := &e.fields[i]; f.key {
		case a:
			f.key = b
		case b:
			f.key = a
		}
	}
}

func (e *entry) encode(out []byte) []byte {
	out = append(out, '{')
	for i := range e.fields {
		if i > 0 {
			out = append(out, ',')
		}
		f := &e.fields[i]
		out = append(encodeString(out, f.key), ':')
		if f.text {
			out = encodeString(out, f.value)
		} else {
			out = append(out, f.value...)
		}
	}
	return append(out, '}')
}
