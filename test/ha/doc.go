// Package ha holds what is promised of several servers on one database: that either may be killed, frozen or stopped at any
// moment, that one of them leads, and that a client need not know which.
//
// It must not know how they agree; it looks at the API, at the member and at the processes. Each test runs on each storage
// that several servers can share (see storages), so that a storage with weaker promises than etcd's is found out.
package ha
