package admission

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// fault is one thing that is wrong with an object. Its id says what is wrong and not where: a fault that moves along in
// a list is still the old one.
type fault struct {
	id  string
	err *field.Error
}

func newFault(id string, err *field.Error) fault { return fault{id: id, err: err} }

// added are the faults that before did not have. Of several alike as many are old as there were.
func added(now, before []fault) []fault {
	old := make(map[string]int, len(before))
	for _, f := range before {
		old[f.id]++
	}
	var out []fault
	for _, f := range now {
		if old[f.id] > 0 {
			old[f.id]--
			continue
		}
		out = append(out, f)
	}
	return out
}
