// Package admission is the door of the plane: it sets what users leave out and refuses what cannot work, with the place
// and the way out, while the author still looks on.
//
// One Admitter decides. It is asked in process by the plane's own API server (NewPlugin) and over HTTPS by any other
// (Handler): the two are shells around the same functions, and neither knows more than the other.
//
// It must not stand in the way of getting rid of things: deletions, status writes, updates that leave the spec as it
// was (finalizers are taken off so) and objects that are being deleted are never refused, and read no facts. It must
// not punish for the past: of an update only those faults are refused that the stored object did not have yet. When
// facts cannot be read, it refuses for the time being, in words that say so, since what slips in unjudged is
// propagated to members.
//
// Federated objects are judged in topology form, into which cluster form converts without loss, so there is one set of
// rules; what differs is how the author is spoken to (words.go).
package admission
