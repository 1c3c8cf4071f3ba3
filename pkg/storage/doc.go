// Package storage is what is underneath a plane: a log in SQLite, MySQL, MariaDB
// or OceanBase behind the etcd API, in process, on a private unix socket; or an
// etcd that others run.
//
// What it does. Kine translates the few shapes of etcd transactions that an API
// server sends; everything below that translation is this package, registered
// with Kine as a driver under a scheme of its own. One goroutine writes. It
// gathers the writes that wait while the previous transaction reaches the disk
// and commits them together (group commit), numbers them with consecutive
// revisions, hands the events to the watchers, and only then answers. Readers
// read one snapshot each, beside the writer.
//
// The log is one table of entries, one per revision, and one row, the head, that
// says how far it goes. Whoever writes holds the head's lock from before the first
// look until the commit. So a compare and its put cannot be torn apart, revisions
// have no holes, and their order is the order of commits, also between processes.
// No number comes from the database: what reserves, skips or reorders numbers
// there cannot do it here. What other processes wrote is read in that order by the
// follower, which polls the head and is poked by readers that see more.
//
// Every transaction has a stamp in its entries and in the head. A process that
// finds its last entry with another stamp, or not at all, knows that the database
// has lost entries since (a fail-over, a copy that was put back): see loss.go. A
// commit whose answer was lost is looked up by its stamp.
//
// What it must not do. It never answers a write that is not on the disk, never
// answers a read with less than the whole result, never leaves out, repeats or
// reorders an event, and never ends the process: propagation deletes objects
// in member clusters on the strength of what is read here, so every doubt is
// an error to the client. Nothing else in the repository may import Kine.
//
// Why it is like this. Kine's own drivers do not look at rows.Err(), answer a
// failed insert of an update as if somebody else had been first, end the process
// when a transaction cannot be committed, fill gaps of AUTO_INCREMENT row by row,
// and poll once a second; its SQLite acknowledges on synchronous=NORMAL. All of
// that is behind its Backend interface, which is its point of extension, so this
// package implements the Backend as a whole instead of mending a dialect. The wire
// protocol of watches is answered here as well (see watch_server.go for the
// reason). Compaction belongs to the API server, which asks for it every five
// minutes; there is no second compactor to disagree with it.
//
// Databases differ in a dialect of statements (dialect.go) and in how they are
// opened (sqlite.go, mysql.go); nothing that decides what is written or answered
// asks which one it is, except for how long it may take: a file is waited for, a
// server is not.
package storage
