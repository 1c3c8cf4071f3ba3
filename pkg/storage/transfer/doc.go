// Package transfer carries a plane's data between databases: to a file, from a
// file, and from one database to another, whatever they are. It speaks the etcd
// API that package storage gives to every backend, and nothing else.
//
// What it does. A source is read at one revision, page by page, while the plane
// on it goes on serving reads and writes; the file that comes of it is versioned,
// compressed and ends with its number of objects and a checksum. A target must be
// empty. It is marked as unfinished first, its revision is raised above the
// source's, the objects are written by many requests at once, then all is read
// again and compared with the file key by key, the past is compacted away, and
// only then the mark goes.
//
// What it must not do. It never looks into values: what is encrypted stays
// encrypted, and the keys travel by themselves. It never writes over what it did
// not write itself, never writes from a file that is not whole, and never calls
// something done that it has not read back. A plane refuses to start on a marked
// target (RefuseUnfinished), because half of the objects would look to it like
// the deletion of the other half, in every member.
//
// Why it is like this. Clients and informers keep resourceVersions of the source.
// On a target whose revision is below they would wait silently for a future that
// is somebody else's past; hence the raising. On one that could still tell that
// past they would miss the deletions that the file no longer knows of; hence the
// compaction, after which every old watch is told to list anew.
package transfer
