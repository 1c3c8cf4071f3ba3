package placement

import (
	"sort"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/cellfed/cellfed/pkg/federated"
)

// Unit is what selecting needs to know of a unit, or of a member under topology "cluster".
type Unit struct {
	// Name is the full cluster name.
	Name   string
	Labels map[string]string
}

// Selected is what a selection selects, in the order in which status lists it: names as written, without repetition;
// else what the selector admits, by name.
type Selected struct {
	Names   []string
	unknown map[string]bool
	set     map[string]bool
}

// Has tells whether a unit is selected, known or not.
func (s Selected) Has(name string) bool { return s.set[name] }

// Unknown tells whether a selected name is no unit that there is.
func (s Selected) Unknown(name string) bool { return s.unknown[name] }

// Filter keeps the names for which a condition holds.
func (s Selected) Filter(keep func(name string) bool) Selected {
	out := Selected{set: map[string]bool{}, unknown: s.unknown}
	for _, n := range s.Names {
		if keep(n) {
			out.set[n] = true
			out.Names = append(out.Names, n)
		}
	}
	return out
}

// Resolve selects among units: names win over the selector, even an empty list (KubeFed's pkg/controller/util,
// placement.go); a selector selects only what exists.
func Resolve(sel federated.Selection, units []Unit) Selected {
	out := Selected{set: map[string]bool{}, unknown: map[string]bool{}}
	add := func(name string) {
		if !out.set[name] {
			out.set[name] = true
			out.Names = append(out.Names, name)
		}
	}
	if sel.Named {
		known := make(map[string]bool, len(units))
		for _, u := range units {
			known[u.Name] = true
		}
		for _, n := range sel.Names {
			add(n)
			if !known[n] {
				out.unknown[n] = true
			}
		}
		return out
	}
	if sel.Selector == nil {
		return out
	}
	for _, u := range units {
		if sel.Selector.Matches(labels.Set(u.Labels)) {
			add(u.Name)
		}
	}
	sort.Strings(out.Names)
	return out
}
