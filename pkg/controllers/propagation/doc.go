// Package propagation brings members to what federated objects ask for, and tells the objects what it found.
//
//	watch → key → gather (reads only) → plan (thinks only) → record → apply (writes only) → report (thinks only) → one status write
//
// Record is the one thing between thinking and doing: what must be durable before a member is written, that is the
// finalizer, the revisions, and the units that may hold a copy from now on.
//
// It must not decide what happens to a unit (pkg/plan does), nor word a condition (pkg/report does), nor keep truth in
// memory: everything it remembers can be lost and is found again in the object, its revisions and the members' marks.
// There is no second controller for status and no object in between: a change in a member, or its return, enqueues the
// same key as an edit.
//
// Types come and go while the plane runs and are unknown when it is built. Each has an informer, a queue and workers of
// its own, so that one type's trouble is its own. controller-runtime's builder is made for types known beforehand and
// a source per kind, not for one watch per kind and member that many objects share; hence plain client-go here.
package propagation
