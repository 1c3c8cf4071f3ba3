package tenancy

import (
	"maps"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Keys are the labels that say who owns a thing.
var Keys = []string{wellknown.TenantLabel, wellknown.WorkspaceLabel}

// Tenant is an owner. Two things have the same owner if and only if these are equal: the zero value, no owner, equals
// no other.
type Tenant struct {
	Tenant    string
	Workspace string
}

// Of reads the owner from labels. An empty label is none.
func Of(labels map[string]string) Tenant {
	return Tenant{Tenant: labels[wellknown.TenantLabel], Workspace: labels[wellknown.WorkspaceLabel]}
}

// Stamp gives the labels of an object the owner that its namespace's labels name, whatever they said before, and
// tells whether that changed anything. It changes neither argument.
func Stamp(object, namespace map[string]string) (map[string]string, bool) {
	if Stamped(object, namespace) {
		return object, false
	}
	out := maps.Clone(object)
	if out == nil {
		out = map[string]string{}
	}
	for _, key := range Keys {
		if value, ok := namespace[key]; ok {
			out[key] = value
		} else {
			delete(out, key)
		}
	}
	return out, true
}

// Stamped tells whether the labels of an object name the owner that its namespace's labels name.
func Stamped(object, namespace map[string]string) bool {
	for _, key := range Keys {
		mine, have := object[key]
		theirs, want := namespace[key]
		if have != want || mine != theirs {
			return false
		}
	}
	return true
}
