// Package health judges an object of a member by itself: does it do what it was last asked to do?
//
// It must not know anything but the object: no clock, no other objects, nothing of federation. So equal objects have
// equal verdicts, and a verdict changes only when the object does. It never fails, whatever the object holds.
//
// The rules for custom kinds are the conventions of kstatus (observedGeneration; conditions Ready, Reconciling,
// Stalled), so that what a controller's author did for other tools counts here too. Its library is not used: it answers
// "has this been reconciled?", and so calls a job that still runs and a load balancer without an address current; it
// looks at the clock; and it has no verdict for what was well once and is not any more.
//
// Progressing means that waiting may help. Degraded means that, by the member's own word, waiting alone will not, so
// that a pipeline may give up. Where a kind's status has no word for failure (a StatefulSet's), it is never Degraded.
package health
