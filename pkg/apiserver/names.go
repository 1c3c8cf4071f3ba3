package apiserver

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
)

const (
	// namesName is the name of the plugin that bounds names.
	namesName = "NameLength"

	// longestName is how many bytes a name may have. Kubernetes bounds most names
	// below that, but not those of RBAC objects; databases bound their keys, each
	// elsewhere. A key is made of group (253), resource, namespace (63) and name, and
	// with this limit fits into the narrowest of them: what a plane accepts does not
	// depend on its database.
	longestName = 512

	// shown is how much of a name that is too long a message repeats.
	shown = 64
)

// names refuses to create what has too long a name. What is there already, from
// a plane that did not refuse it, can be changed and deleted.
type names struct{ *admission.Handler }

var _ admission.ValidationInterface = names{}

func newNames() admission.Interface { return names{admission.NewHandler(admission.Create)} }

// Validate implements admission.ValidationInterface.
func (names) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if len(a.GetName()) <= longestName || a.GetSubresource() != "" {
		return nil
	}
	fault := field.TooLong(field.NewPath("metadata", "name"), "", longestName)
	fault.Detail = fmt.Sprintf("may not be more than %d bytes, and has %d", longestName, len(a.GetName()))
	return apierrors.NewInvalid(a.GetKind().GroupKind(), strings.ToValidUTF8(a.GetName()[:shown], "")+"…", field.ErrorList{fault})
}
