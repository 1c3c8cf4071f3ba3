// Package agent is the end of a tunnel that stands in a member: it holds streams open to the plane's proxy servers, and
// connects what they ask for to addresses of the member.
//
// On the wire it is an agent of apiserver-network-proxy, and an unmodified konnectivity server takes it for one. Only that
// project's protocol packages are used: its own agent links the whole of client-go, connects to any address that the
// server names, and lets one connection that takes no bytes hold up all others. Here, a server that keeps to windows
// (proxy/window) holds such a connection up at its other end; of any other server, it is ended.
//
// It must not trust the server more than it has to. A server reaches the addresses on a list and no other; what it sends
// is bounded in size, number and time; and nothing that it sends ends the process. It knows nothing of Kubernetes, of
// members or of how it came by its certificate: that is proxy/credential's part.
//
// One goroutine reads a stream and never waits to write to it: two ends that both wait for the other to read would wait
// for ever.
package agent
