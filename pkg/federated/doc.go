// Package federated reads federated objects: a typed view of the cluster form, whatever the kind, and the content
// that a revision names.
//
// It must not decide anything about units, and must not fail: what cannot be read becomes a Fault of the view, so that
// one garbled field holds one object and nothing else. It reads the cluster form only, because that is what is stored
// and what the plane's own controllers watch; users' other form is the business of pkg/topology.
package federated
