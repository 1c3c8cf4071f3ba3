// Package topology holds the laws of names and forms: how a unit's KubeFedCluster is called, and how a federated object
// is said in cluster form (v1beta1, KubeFedClusters) and in topology form (v2beta1, units by their short names).
//
// Conversion is a bijection between all JSON objects and all JSON objects: total, pure, reading nothing but the object.
// It has to be. A conversion that can fail breaks LIST for everybody because of one bad object; one that forgets loses
// what a user wrote as soon as somebody writes through the other form; one that looks things up changes its answer
// between two reads. So every rule here is a pair of inverse functions on disjoint cases:
//
//   - The lists clusters and topologies of a placement, a mask and the status, and clusterOverrides and
//     topologyOverrides of an override, trade names.
//   - A name that ends in the object's own suffix (".<namespace>.<type>") is short in topology form. Any other name
//     stands there verbatim, under a key that says so (clusterName). What looks short already in cluster form stands
//     there verbatim as topologyName.
//   - A topologySelector is, in cluster form, the same selector with two more requirements at its end. A selector that
//     does not end so stands verbatim in topology form, as clusterSelector; see selector.go for the corners.
//   - Everything else, also everything of an unexpected shape, is copied as it is.
//
// With topology type cluster (or none) the suffix is empty and selectors stay as they are: both forms say the same in
// their own words.
//
// The package must not read clusters, units or configuration, and must not judge (that is admission's). What it is given
// it does not change, except where a function's name says so (Into…): results share unchanged parts with their source, so
// both are to be read only.
package topology
