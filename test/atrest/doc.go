// Package atrest tests that credentials are secrets where a plane keeps them: encrypted in the database, with a local key or a
// KMS v2 plugin that is a process of its own, whatever happens to it, and found nowhere else.
//
// What stands in the database is read, and spoilt, through the store's own socket, and so with any backend.
package atrest
