// Package apiserver is the standalone plane's API server: the generic control
// plane of k8s.io/kubernetes over a store of CellFed's own, in one process. It is
// the only package, the playground aside, that may import k8s.io/kubernetes.
//
// Run takes a data directory and what the rest of CellFed plugs in, all of it as
// plain functions, so that this package knows nothing of federation:
//
//   - CRDs, which are served before the plane calls itself ready;
//   - a handler for conversion, called in process, because a webhook over TLS
//     costs twice the time whenever a watch cache fills;
//   - which types are closed: unknown fields of their objects are refused, not
//     dropped, whatever a client asks;
//   - admission plugins, asked before any webhook, for custom resources too;
//   - parts: long-running work (controllers) on a loopback connection.
//
// What is left out of the generic control plane is left out on purpose: API
// groups and admission plugins that concern pods and nodes, quotas (they need a
// controller that counts; one that silently does not count would be a lie), the
// identity lease and the proxy between several API servers (an idle plane writes
// nothing). The installed API groups are listed in apis.go and not taken from
// pkg/controlplane, which would link every API there is.
//
// Things end in the reverse order of their start: parts first, on a connection
// that still works; then the API server, which answers what is in flight; the
// store last, on a context of its own, since a server without its store can
// neither answer nor end.
package apiserver
