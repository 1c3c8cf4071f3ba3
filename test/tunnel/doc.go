// Package tunnel tests members behind a tunnel whole: a real plane, a real member, and real agents between them, ours and
// an unmodified one of apiserver-network-proxy.
//
// What passes through is what passes in life: kubectl itself, for exec, attach, logs, port-forward and watches, in both of its
// transports, to the member's real API server and a stand-in for the kubelet behind it.
//
// Where it matters the member can only dial out: it is in a network namespace, which the plane is not in, and the tests check
// from both sides that this is so. Where the system makes no namespaces a doorkeeper takes its place, and the tests say
// which it was. Other tests look at what the plane says of the member, which is on loopback like everything here.
package tunnel
