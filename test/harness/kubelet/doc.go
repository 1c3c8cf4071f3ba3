// Package kubelet stands in for a kubelet at the last hop of exec, attach, logs and port-forward, so that they can be
// tested whole: kubectl, what is between it and the member, the member's real API server, and a process at the end.
//
// The streams are served by the library that kubelets and container runtimes serve them with, and what they carry comes
// from real processes and goes to real ports; a pod is one process on this machine. It must not pretend more: it reads no
// pods from the API server, changes none after it has said that they run, has no terminals, and refuses the options of
// logs that it does not know.
//
// Why it is like this: a real kubelet needs a container runtime and a machine of its own. What tests ask is whether bytes
// get from one end to the other, how they are separated and how they end, and that is decided by the library.
package kubelet
