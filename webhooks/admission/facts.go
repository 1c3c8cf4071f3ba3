package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
)

// Facts is what the door has to know of what is there already. Every method tells apart what is not there (false) from
// what could not be found out (an error). What is handed out is read only.
type Facts interface {
	// NamespaceLabels are the labels of a namespace of the plane.
	NamespaceLabels(ctx context.Context, name string) (map[string]string, bool, error)
	// Unit finds a unit by its namespace and short name.
	Unit(ctx context.Context, namespace, name string) (*topologyv1alpha1.Unit, bool, error)
	// Units lists the units of a namespace.
	Units(ctx context.Context, namespace string) ([]*topologyv1alpha1.Unit, error)
	// Cluster finds a physical member.
	Cluster(ctx context.Context, name string) (Cluster, bool, error)
	// Clusters lists the physical members.
	Clusters(ctx context.Context) ([]Cluster, error)
	// Claim finds a claim by its name (topology.ClaimName).
	Claim(ctx context.Context, name string) (*topologyv1alpha1.MemberNamespaceClaim, bool, error)
	// FederatedType finds the FederatedTypeConfig that makes a kind federated.
	FederatedType(ctx context.Context, gk schema.GroupKind) (TypeFacts, bool, error)
	// InNamespace names something in a namespace that is its owner's: a federated object, a unit or a revision; "" = there
	// is none.
	InNamespace(ctx context.Context, namespace string) (string, error)
	// OnMember names something that is, or may have a copy, on a member: a unit, or a federated object that is placed by
	// cluster; "" = there is none.
	OnMember(ctx context.Context, name string) (string, error)
}

// Cluster is a physical member as placement sees it.
type Cluster struct {
	Name   string
	Labels map[string]string
	Grants []corev1beta1.TenantGrant
	// ID is the identity of the cluster behind it, "" = it is not known; Endpoint is where its API server is,
	// as seen from the plane: "" for one behind a tunnel, whose address says nothing here.
	ID, Endpoint string
}

// TypeFacts is what a FederatedTypeConfig says.
type TypeFacts struct {
	// ConfigName is the FederatedTypeConfig's name.
	ConfigName string
	// TargetGroup and TargetKind are what the templates of the federated kind are of.
	TargetGroup string
	TargetKind  string
	// Ours tells whether the plane itself propagates the type. Then it is also there to take its finalizer off.
	Ours bool
}
