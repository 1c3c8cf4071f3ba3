// Package wellknown holds the names that CellFed, KubeFed and their users agree on: labels, annotations, finalizers
// and namespaces.
//
// It must not hold logic. It is one package because every floor of the house says these names, and a name that is
// spelled twice is one day spelled differently.
package wellknown

// Namespaces of the plane that have a meaning of their own.
const (
	// FederationNamespace holds the physical KubeFedClusters, their secrets and the FederatedTypeConfigs.
	FederationNamespace = "kube-federation-system"
	// UnitsNamespace holds the KubeFedClusters of units. It is another one than KubeFed's, which must never see a
	// member twice: it deletes by name through every KubeFedCluster that it sees.
	UnitsNamespace = "cellfed-units"
)

// Names that KubeFed made and CellFed keeps.
const (
	// ManagedLabel stands on every member object that the plane keeps; the value is ManagedTrue.
	ManagedLabel = "kubefed.io/managed"
	// ManagedTrue is ManagedLabel's value on objects that the plane keeps.
	ManagedTrue = "true"
	// ManagedFalse is ManagedLabel's value on member objects that the plane must leave alone.
	ManagedFalse = "false"
	// OrphanAnnotation "true" on a federated object leaves the members' copies where they are when it is deleted.
	OrphanAnnotation = "kubefed.io/orphan"
	// DeleteOptionAnnotation on a federated object holds DeleteOptions as JSON, with which its copies are deleted.
	DeleteOptionAnnotation = "kubefed.io/deleteoption"
	// SyncFinalizer on a federated object stands until its copies are gone.
	SyncFinalizer = "kubefed.io/sync-controller"
	// TypeConfigFinalizer on a FederatedTypeConfig stands until its propagation has ended.
	TypeConfigFinalizer = "core.kubefed.io/federated-type-config"
)

// Names of CellFed.
const (
	// OwnerAnnotation on member objects says which plane, federated object, unit and revision they are of (JSON).
	OwnerAnnotation = "cellfed.io/owner"
	// AdoptAnnotation "true" on a federated object takes over member objects that are there already.
	AdoptAnnotation = "cellfed.io/adopt"

	// MadeForAnnotation on a member namespace that the plane made because a copy needed it says for which plane and unit (the
	// form is OwnerAnnotation's). The FederatedNamespace that places a copy there takes it over.
	MadeForAnnotation = "cellfed.io/made-for"

	// ClusterIDAnnotation on a physical KubeFedCluster is the identity of the cluster behind it: the UID of its namespace
	// kube-system, as it was when the plane first spoke to it.
	ClusterIDAnnotation = "cellfed.io/member-uid"

	// ClusterFinalizer on a physical KubeFedCluster stands until nothing of the plane may be left in the member, or the
	// member was given up.
	ClusterFinalizer = "cellfed.io/member"

	// TunnelServersConfigMap in FederationNamespace tells where the plane's servers serve tunnels: HOST:PORT by the name of
	// the server.
	TunnelServersConfigMap = "cellfed-tunnel-servers"
	// TunnelPeersConfigMap in FederationNamespace tells where the plane's servers reach each other's tunnels, and those of
	// servers on their own: HOST:PORT by the name of the server.
	TunnelPeersConfigMap = "cellfed-tunnel-peers"

	// TopologyTypeLabel, TopologyNamespaceLabel and TopologyUnitLabel stand on the KubeFedClusters of units.
	TopologyTypeLabel      = "topology.cellfed.io/type"
	TopologyNamespaceLabel = "topology.cellfed.io/namespace"
	TopologyUnitLabel      = "topology.cellfed.io/unit"
	// UnitFinalizer on a Unit stands until nothing of the plane is left in it.
	UnitFinalizer = "topology.cellfed.io/unit"

	// TenantLabel and WorkspaceLabel on namespaces, federated objects, units and KubeFedClusters say who owns them.
	TenantLabel    = "tenancy.cellfed.io/tenant"
	WorkspaceLabel = "tenancy.cellfed.io/workspace"
)

// API names of federated types.
const (
	// FederatedGroup is the API group of federated types unless a FederatedTypeConfig says otherwise.
	FederatedGroup = "types.kubefed.io"
	// ClusterForm is the version that speaks of KubeFedClusters. It is the stored one.
	ClusterForm = "v1beta1"
	// TopologyForm is the version that speaks of units by their short names.
	TopologyForm = "v2beta1"
)
