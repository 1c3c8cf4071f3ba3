// Package host is what a plane keeps on, and needs from, the machine it runs on:
// its data directory, the certificates and keys in it, the configuration of
// encryption at rest, admin.kubeconfig, and how it writes logs.
//
// It knows nothing of Kubernetes' API machinery and starts nothing, so that its
// tests are quick and a damaged data directory can be told apart from a failing
// server. Keys are made once and used again at every start: clients keep
// trusting the plane and stored secrets stay readable. Every file appears whole
// or not at all, because a plane may be killed at any moment. One process holds the
// directory at a time.
package host
