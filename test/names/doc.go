// Package names tests that the names which a plane accepts, and the order in which it lists them, are the same whatever
// database it stands on. The same long script of requests goes to a plane on each backend, and the answers must be the
// same.
//
// It exists because databases compare text in ways of their own: without regard to case or to spaces at the end, by
// Unicode's equivalences, and up to a length. A plane on one of them would take Admin for admin.
//
// Since it has a plane on each backend, it is also where the API server's own comparison of its caches with the storage
// is run on each.
package names
