// Package unit gives units what they live by: the claim on their member's namespace, and their KubeFedCluster in
// cellfed-units, which shares the physical member's endpoint and credentials and carries the labels that selectors
// see. It keeps both true, and takes them away when a unit is deleted and nothing of the plane is left in it.
//
// A claim has a name made from member and member namespace, so two units, or two replicas of this controller, cannot
// both have it. It is taken from its holder only when a live read says that the holder is gone: not on what a cache
// says, and not on an error. In the same manner a unit that may still hold copies does not go (law 12, 13): whether it
// does is asked of a function that whoever wires the controllers supplies, and doubt counts as yes.
//
// A member or namespace that is missing holds the unit as it is, with a reason; it deletes nothing. This package must
// not touch members, physical KubeFedClusters, or a KubeFedCluster in cellfed-units that is not the unit's.
//
// Credentials are copied, one secret per member, because KubeFed's secretRef reaches only its own namespace. The copy
// goes with the last unit on that member.
package unit
