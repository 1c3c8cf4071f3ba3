package override

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// OpError says which of the operations does not apply, and why.
type OpError struct {
	Index int
	Op    Op
	Why   error
}

// Error implements error.
func (e *OpError) Error() string {
	return fmt.Sprintf("override %d (%s %s): %v", e.Index, e.Op.Kind(), strconv.Quote(e.Op.Path), e.Why)
}

// Unwrap gives the reason alone.
func (e *OpError) Unwrap() error { return e.Why }

// Apply applies operations, one after the other, to a deep copy of obj: all of them, or none and an *OpError. The
// result shares no memory with obj or the operations.
func Apply(obj map[string]any, ops []Op) (map[string]any, error) {
	out, _ := deepCopy(obj).(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	return (&journal{}).apply(out, ops)
}

// apply applies operations to doc itself.
func (j *journal) apply(doc map[string]any, ops []Op) (map[string]any, error) {
	for i, op := range ops {
		next, err := j.applyOne(doc, op)
		if err != nil {
			return nil, &OpError{Index: i, Op: op, Why: err}
		}
		doc = next
	}
	return doc, nil
}

// journal notes how to take back what is done to a document, if it keeps notes at all.
type journal struct {
	keep  bool
	notes []func()
	// moved counts the elements of lists that were moved to make or close a gap.
	moved int
}

// maxMoved bounds the work of one unit's overrides. An object has room for a list of a hundred thousand elements and
// for ten thousand operations that each put one in front: rendering it would hold a processor for half a minute.
const maxMoved = 10_000_000

func (j *journal) move(elements int) error {
	if j.moved += elements; j.moved > maxMoved {
		return fmt.Errorf("together these overrides move more than %d elements of lists: replace the list as a whole", maxMoved)
	}
	return nil
}

func (j *journal) note(undo func()) {
	if j.keep {
		j.notes = append(j.notes, undo)
	}
}

// noteKey notes what stands under a key.
func (j *journal) noteKey(m map[string]any, key string) {
	if !j.keep {
		return
	}
	old, had := m[key]
	j.note(func() {
		if had {
			m[key] = old
		} else {
			delete(m, key)
		}
	})
}

// own gives a list that may be changed in place: a copy, if the list must be as it was in the end.
func (j *journal) own(l []any) []any {
	if !j.keep {
		return l
	}
	return slices.Clone(l)
}

// undo takes everything back, the last first.
func (j *journal) undo() {
	for _, back := range slices.Backward(j.notes) {
		back()
	}
	j.notes = nil
}

func (j *journal) applyOne(doc map[string]any, op Op) (map[string]any, error) {
	tokens, err := split(op.Path)
	if err != nil {
		return nil, err
	}
	change, err := changeOf(op)
	if err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return whole(op)
	}
	changed, err := j.descend(doc, tokens, 0, change)
	if err != nil {
		return nil, err
	}
	return changed.(map[string]any), nil
}

// whole replaces the document itself.
func whole(op Op) (map[string]any, error) {
	m, ok := deepCopy(op.Value).(map[string]any)
	if !ok || op.Kind() == Remove {
		return nil, errors.New("the whole object can only be replaced by an object")
	}
	return m, nil
}

// change does an operation at the last token of its path.
type change struct {
	object func(m map[string]any, key string) error
	list   func(l []any, index string) ([]any, error)
}

func changeOf(op Op) (change, error) {
	switch op.Kind() {
	case Add:
		return change{
			object: func(m map[string]any, key string) error { m[key] = deepCopy(op.Value); return nil },
			list: func(l []any, token string) ([]any, error) {
				i := len(l)
				if token != "-" {
					var err error
					if i, err = index(token, len(l)+1); err != nil {
						return nil, err
					}
				}
				out := make([]any, 0, len(l)+1)
				return append(append(append(out, l[:i]...), deepCopy(op.Value)), l[i:]...), nil
			},
		}, nil
	case Replace:
		return change{
			object: func(m map[string]any, key string) error { m[key] = deepCopy(op.Value); return nil },
			list: func(l []any, token string) ([]any, error) {
				i, err := index(token, len(l))
				if err != nil {
					return nil, err
				}
				l[i] = deepCopy(op.Value)
				return l, nil
			},
		}, nil
	case Remove:
		return change{
			object: func(m map[string]any, key string) error {
				if _, ok := m[key]; !ok {
					return errors.New("there is nothing to remove")
				}
				delete(m, key)
				return nil
			},
			list: func(l []any, token string) ([]any, error) {
				i, err := index(token, len(l))
				if err != nil {
					return nil, err
				}
				return append(l[:i], l[i+1:]...), nil
			},
		}, nil
	}
	return change{}, fmt.Errorf("unknown operation %s: must be add, remove or replace", strconv.Quote(op.Op))
}

// descend walks to the parent of the last token, does the change there and hands back the changed container: lists
// may have got another length, so whoever holds one must store it anew.
func (j *journal) descend(at any, tokens []string, depth int, do change) (any, error) {
	token, last := tokens[depth], depth == len(tokens)-1
	switch c := at.(type) {
	case map[string]any:
		if last {
			j.noteKey(c, token)
			return c, do.object(c, token)
		}
		child, err := j.descend(c[token], tokens, depth+1, do)
		if err != nil {
			return nil, err
		}
		if _, isList := child.([]any); isList {
			j.noteKey(c, token)
		}
		c[token] = child
		return c, nil
	case []any:
		if last {
			if err := j.move(len(c)); err != nil {
				return nil, err
			}
			return do.list(j.own(c), token)
		}
		i, err := index(token, len(c))
		if err != nil {
			return nil, err
		}
		old := c[i]
		child, err := j.descend(old, tokens, depth+1, do)
		if err != nil {
			return nil, err
		}
		if _, isList := child.([]any); isList {
			j.note(func() { c[i] = old })
		}
		c[i] = child
		return c, nil
	case nil:
		return nil, fmt.Errorf("there is no %s: add it first", strconv.Quote(join(tokens[:depth])))
	}
	return nil, fmt.Errorf("%s is neither an object nor a list", strconv.Quote(join(tokens[:depth])))
}

// index reads an index of a list of n elements; a negative one counts from the end, as KubeFed's library had it.
func index(token string, n int) (int, error) {
	i, err := strconv.Atoi(token)
	if err != nil {
		return 0, fmt.Errorf("%s is no index of a list", strconv.Quote(token))
	}
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return 0, fmt.Errorf("index %s is outside the list", token)
	}
	return i, nil
}

// split reads a JSON pointer.
func split(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' {
		return nil, errors.New("must start with a slash, as in /spec/replicas")
	}
	tokens := strings.Split(path[1:], "/")
	for i, t := range tokens {
		for at := strings.IndexByte(t, '~'); at >= 0; {
			if at+1 >= len(t) || t[at+1] != '0' && t[at+1] != '1' {
				return nil, errors.New("a ~ must be written ~0, and a slash inside a key ~1")
			}
			next := strings.IndexByte(t[at+1:], '~')
			if next < 0 {
				break
			}
			at += 1 + next
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// join writes a JSON pointer.
func join(tokens []string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// deepCopy copies objects and lists; everything else in decoded JSON is immutable. Unlike runtime.DeepCopyJSON it
// does not panic on values of other types.
func deepCopy(v any) any {
	switch c := v.(type) {
	case map[string]any:
		if c == nil {
			return c
		}
		out := make(map[string]any, len(c))
		for k, e := range c {
			out[k] = deepCopy(e)
		}
		return out
	case []any:
		if c == nil {
			return c
		}
		out := make([]any, len(c))
		for i, e := range c {
			out[i] = deepCopy(e)
		}
		return out
	}
	return v
}
