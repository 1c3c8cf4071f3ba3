// Package storage is the etcd underneath a standalone plane: a SQLite file
// behind the etcd API, in process, on a private unix socket.
//
// What it does. Kine translates the few shapes of etcd transactions that an API
// server sends; everything below that translation is this package, registered
// with Kine as a driver under a scheme of its own. One goroutine writes. It
// gathers the writes that wait while the previous transaction reaches the disk
// and commits them together (group commit), numbers them with consecutive
// revisions, hands the events to the watchers, and only then answers. Readers
// read one snapshot each, beside the writer.
//
// What it must not do. It never answers a write that is not on the disk, never
// answers a read with less than the whole result, never leaves out, repeats or
// reorders an event, and never ends the process: propagation deletes objects
// in member clusters on the strength of what is read here, so every doubt is
// an error to the client. Nothing else in the repository may import Kine.
//
// Why it is like this. Kine's own SQLite driver acknowledges on
// synchronous=NORMAL, does not look at rows.Err(), answers a failed insert of
// an update as if somebody else had been first, ends the process when a
// transaction cannot be committed, leaks a SELECT that stops checkpoints, and
// polls for events. All of that is behind its Backend interface, which is its
// point of extension, so this package implements the Backend as a whole instead
// of mending a dialect. The wire protocol of watches is answered here as well
// (see watch_server.go for the reason). Compaction belongs to the API server,
// which asks for it every five minutes; there is no second compactor to
// disagree with it.
//
// The file holds one table of entries, one row per revision:
//
//	revision, key, deleted, create_revision, previous, version, lease, expires, value
//
// "previous" is the revision of the same key that the entry replaces. The row
// with the highest revision is never deleted, so revisions cannot run backwards.
package storage
