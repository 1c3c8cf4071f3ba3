package overridetest

import "github.com/cellfed/cellfed/pkg/apis/wellknown"

// Dice make documents and overrides out of bytes, so that the fuzzer changes choices and not letters.
type Dice struct {
	bytes []byte
	at    int
}

func (d *Dice) roll(n int) int {
	if d.at >= len(d.bytes) {
		return 0
	}
	b := int(d.bytes[d.at])
	d.at++
	return b % n
}

func (d *Dice) done() bool { return d.at >= len(d.bytes) }

// Tokens are what paths are made of: the names of what may not change, and everything that a pointer can be bent with.
var Tokens = []string{
	"", "metadata", "labels", "annotations", "ownerReferences", "finalizers", "name", "namespace", "uid", "kind", "apiVersion",
	"generateName", "resourceVersion", "managedFields", "deletionTimestamp", "creationTimestamp", "deletionGracePeriodSeconds", "selfLink",
	"kubefed.io~1managed", "cellfed.io~1owner", "spec", "status", "data", "items", "~0", "~1", "~", "~2", "-", "-1", "0", "1", "+0", "00",
	"01", "1e3", "99999999999999999999", " ", "*", "..", ".", "%2e", "\x00", "é", "Metadata", "metadata ", "~01", "metadata~1name",
}

// Ops are operations, and what looks like one.
var Ops = []any{nil, "add", "remove", "replace", "move", "copy", "test", "", "Replace", "add ", 7}

func (d *Dice) path() any {
	switch d.roll(16) {
	case 0:
		return nil
	case 1:
		return ""
	case 2:
		return 7
	case 3:
		return Tokens[d.roll(len(Tokens))] // no slash before it
	}
	path := ""
	for range 1 + d.roll(4) {
		path += "/" + Tokens[d.roll(len(Tokens))]
	}
	return path
}

// Value is any value, as deep as depth leaves room for.
func (d *Dice) Value(depth int) any {
	switch d.roll(9) {
	case 0:
		return nil
	case 1:
		return int64(d.roll(256))
	case 2:
		return true
	case 3:
		return 1.5
	case 4, 5:
		return Tokens[d.roll(len(Tokens))]
	case 6:
		if depth > 2 {
			return []any{}
		}
		list := []any{}
		for range d.roll(4) {
			list = append(list, d.Value(depth+1))
		}
		return list
	}
	if depth > 2 {
		return map[string]any{}
	}
	m := map[string]any{}
	for range d.roll(5) {
		key := Tokens[d.roll(len(Tokens))]
		if key == "kubefed.io~1managed" {
			key = wellknown.ManagedLabel
		}
		if key == "cellfed.io~1owner" {
			key = wellknown.OwnerAnnotation
		}
		m[key] = d.Value(depth + 1)
	}
	return m
}

// Overrides are some operations, in order or not.
func (d *Dice) Overrides() []any {
	var list []any
	for range 1 + d.roll(6) {
		m := map[string]any{"path": d.path(), "value": d.Value(0)}
		if op := Ops[d.roll(len(Ops))]; op != nil {
			m["op"] = op
		}
		if d.roll(8) == 0 {
			m["from"] = d.path()
		}
		if d.roll(8) == 0 {
			delete(m, "value")
		}
		list = append(list, any(m))
		if d.roll(8) == 0 {
			list = append(list, any(m)) // twice the same
		}
		if d.done() {
			break
		}
	}
	if d.roll(32) == 0 {
		list = append(list, d.Value(0))
	}
	return list
}

// Object is what rendering hands to overrides: an identity, marks perhaps, and content.
func (d *Dice) Object() map[string]any {
	metadata := map[string]any{"name": "web", "namespace": "acme-a"}
	if d.roll(2) == 0 {
		metadata["labels"] = map[string]any{"app": "web"}
	}
	if d.roll(2) == 0 { // over an observed object
		metadata["resourceVersion"] = "42"
		metadata["finalizers"] = []any{"member/own"}
		metadata["annotations"] = map[string]any{"member/own": "x"}
	}
	obj := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
		"spec": map[string]any{"replicas": int64(3), "list": []any{map[string]any{"name": "c"}, "x"}}}
	if d.roll(3) == 0 {
		obj["data"] = d.Value(0)
	}
	return obj
}

// New makes dice that throw these bytes, and zeroes when they are used up.
func New(bytes []byte) *Dice { return &Dice{bytes: bytes} }

// Template is what a user may write into a federated object: with an identity of its own, or with metadata that is none.
func (d *Dice) Template() map[string]any {
	t := map[string]any{"spec": map[string]any{"replicas": int64(3), "list": []any{map[string]any{"name": "c"}, "x"}}}
	switch d.roll(4) {
	case 0:
		t["metadata"] = d.Value(0)
	case 1:
		metadata := map[string]any{}
		for range d.roll(8) {
			metadata[Tokens[d.roll(len(Tokens))]] = d.Value(0)
		}
		t["metadata"] = metadata
	case 2:
		t["metadata"] = map[string]any{"labels": map[string]any{"app": "web"}, "annotations": map[string]any{"a": "b"}}
	}
	for range d.roll(3) {
		t[Tokens[d.roll(len(Tokens))]] = d.Value(0)
	}
	return t
}
