// Package memberserver runs one real Kubernetes member in the calling process: storage, kube-apiserver,
// kube-controller-manager and, when nodes are asked for, kube-scheduler and simulated nodes.
//
// It must not start a second member in the same process: client-go registers informer names, and the
// components register their configuration, once per process. It must not end the process; Run returns an
// error and the door decides. It knows nothing of other members: that is the supervisor's, in pkg/playground.
//
// Why it is like this: the components are driven through their options and their library entry points, with
// the same flags an administrator would write, because their command objects install signal handlers that
// panic when a second one appears. What is switched off is switched off by flag, with its reason beside it,
// so that a member stays a cluster that behaves like any other for workloads, RBAC, custom resources,
// namespaces and garbage collection.
package memberserver
