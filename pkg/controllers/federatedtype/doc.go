// Package federatedtype makes a FederatedTypeConfig all it takes to federate a kind: it makes and keeps the federated
// CRD, starts and stops the type's propagation, and tells which members do not have the target kind.
//
// A type whose FederatedTypeConfig is deleted carries the deletions of its objects to their end before it goes.
//
// It must not delete a CRD, for objects would go with it, and must not take over one that somebody else made. What a
// CRD looks like is the business of pkg/typeschema; who propagates is behind the interface Types. A kind that members
// lack is told and stops nothing: it is the trouble of those members alone.
package federatedtype
