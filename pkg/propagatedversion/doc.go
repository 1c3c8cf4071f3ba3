// Package propagatedversion says what KubeFed's controller would have noted of a federated object in a PropagatedVersion:
// its name, its hashes, and the versions in the clusters.
//
// It must not be used to decide anything: the hashes are MD5 sums that KubeFed's tools compare, and the versions say
// nothing of what a copy holds. The plane's own words for both are revisions (pkg/federated) and versions (pkg/render).
package propagatedversion
