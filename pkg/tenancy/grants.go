package tenancy

import (
	"strings"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/glob"
)

// IsSystem tells whether a namespace is the system's own, Kubernetes' or the federation's. It is granted to nobody: who
// writes there rules the whole cluster.
func IsSystem(namespace string) bool {
	return strings.HasPrefix(namespace, "kube-") || strings.HasPrefix(namespace, "cellfed-")
}

// defaultNamespace is in every cluster, for those who have no namespace of their own: nobody's, and hence no tenant's.
const defaultNamespace = "default"

// None tells whether there is no owner.
func (t Tenant) None() bool { return t == Tenant{} }

// String says an owner for people.
func (t Tenant) String() string {
	switch {
	case t.None():
		return "namespaces without a tenant"
	case t.Workspace == "":
		return "tenant " + t.Tenant
	case t.Tenant == "":
		return "workspace " + t.Workspace
	}
	return "tenant " + t.Tenant + ", workspace " + t.Workspace
}

// Access is what a member says of who may use it.
type Access struct {
	// Owner is the member's own, as its labels name it.
	Owner Tenant
	// Grants are its spec.grants.
	Grants []corev1beta1.TenantGrant
	// Required closes a member that says nothing, neither an owner nor grants, to all who have an owner.
	Required bool
}

// Granted tells whether an owner may use a namespace of the member. The member's own tenant may, and whoever its grants
// list. Where it lists none, one that has an owner is its owner's only, and one without is everybody's.
func (a Access) Granted(who Tenant, namespace string) bool {
	if IsSystem(namespace) || namespace == defaultNamespace && !who.None() {
		return false
	}
	if a.open(who) {
		return true
	}
	for i := range a.Grants {
		if !covers(&a.Grants[i], who) {
			continue
		}
		for _, pattern := range a.Grants[i].MemberNamespaces {
			if glob.Match(pattern, namespace) {
				return true
			}
		}
	}
	return false
}

// Namespaces are the patterns of the member's namespaces that are granted to an owner: for telling it what it may use,
// without telling it of others.
func (a Access) Namespaces(who Tenant) []string {
	if a.open(who) {
		return []string{"*"}
	}
	var out []string
	for i := range a.Grants {
		if covers(&a.Grants[i], who) {
			out = append(out, a.Grants[i].MemberNamespaces...)
		}
	}
	return out
}

// open tells whether an owner may use all of the member without being listed.
func (a Access) open(who Tenant) bool {
	switch {
	case !a.Owner.None() && a.Owner == who:
		return true
	case len(a.Grants) > 0, !a.Owner.None():
		return false
	}
	return !a.Required || who.None()
}

func covers(g *corev1beta1.TenantGrant, who Tenant) bool {
	return g.Tenant == who.Tenant && (g.Workspace == nil || *g.Workspace == who.Workspace)
}
