// Package annotation says which annotations of a template are spec, by patterns of keys: those are written to members
// and enforced there, all others are the members' own.
//
// It must not know what an annotation means, nor how it is written. Patterns are a set: their order says nothing, and a
// key that one of them takes out stays out. Keys of the plane and of Kubernetes' own machinery never match, whatever the
// patterns say: a plane that wrote another cluster's revision numbers or kubectl's memory into a member would break
// what reads them there.
package annotation
