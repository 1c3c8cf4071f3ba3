// Package tunnel tests members behind a tunnel whole: a real plane, a real member, and real agents between them, ours and
// an unmodified one of apiserver-network-proxy.
//
// What passes through is what passes in life: kubectl itself, for exec, attach, logs, port-forward and watches, in both of its
// transports, to the member's real API server and a stand-in for the kubelet behind it.
//
// The member's API server is on loopback like everything here, so the tests look at whom the plane connects to: the
// KubeFedCluster's address is one that only the agent is told of in words it can use, a name that resolves nowhere else.
package tunnel
