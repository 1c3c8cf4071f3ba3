// Package membership watches over the physical members: it reads KubeFedClusters and their secrets, tells the fleet
// whom to connect with and who can be reached, and writes what it found into the KubeFedClusters' status.
//
// One prober per member asks for its health, also while the member cannot be reached; nobody else does. A failed call
// or a broken watch anywhere in the plane makes it ask at once, so that a dead member is noticed within seconds and not
// within periods. Conditions and reasons are KubeFed's, with two differences. failureThreshold protects: a ready
// member becomes not ready after that many failures in a row and not after the first. And a member that is not ready
// always says Ready=False, where KubeFed leaves the condition out: tables and `kubectl wait` need it.
//
// A member is one cluster: who it is (the UID of its namespace kube-system) is recorded before it is served, and compared
// after each failure, each change of configuration, and once a minute. Another cluster in its place is asked nothing but
// health and that. A configuration that has changed takes effect when it is known whom it leads to; until then the old
// connection stands. A member that may hold copies does not go when its KubeFedCluster is deleted.
//
// The fleet is told before the status is written: propagation must not wait for a write to the plane. lastProbeTime is
// written only together with something else: with nothing changing, no write reaches the plane.
//
// It must not touch the KubeFedClusters of units (pkg/controllers/unit keeps those) and must not write to members.
package membership
