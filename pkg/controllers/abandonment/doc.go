// Package abandonment looks at places that were given up, and at members in general, for objects of the plane that no
// federated object keeps, and tells of them: in the Abandonment's status, on the KubeFedCluster, by an event.
//
// It must not delete or change anything in a member, whatever it finds there: what was left behind may be all that a
// user has. It must not decide what an abandonment does to federated objects (pkg/plan does), nor what a leftover is
// (whoever carries the types does, behind a function).
//
// A single look may show a copy that is just being removed, so something is a leftover when two looks have shown it. A
// place that was given up and is back is asked by lists, kind by kind: nobody may have a view of it. Members in general
// are looked at through the views that are open anyway, when one of them was filled anew and every ten minutes, so that
// it costs them nothing.
package abandonment
