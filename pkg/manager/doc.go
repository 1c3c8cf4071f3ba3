// Package manager assembles the plane's controllers around one connection to it: membership, units, federated types and
// propagation, with the caches and the fleet of members that they share.
//
// It must not know where the plane's API is served from or by whom, and holds no logic of its own: what is here is
// which part gets which, and in what order they end. Parts may be switched off one by one, so that they can run in
// processes of their own.
package manager
