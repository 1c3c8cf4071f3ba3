// Package database starts real databases for tests, each in a temporary directory and on loopback only: MariaDB from
// Debian's package (make databases installs it) and etcd (built into bin/tools from the module in go.mod).
//
// It must not link Kubernetes, Kine or their clients, because tests of pkg/storage import it. It must not weaken what
// a test is about: InnoDB and etcd reach the disk at each commit, as they do for users.
//
// Why it is like this: what storage must survive is what a database does when it is killed, paused, full, read-only or
// back on the same port, and no fake does that. A database ends with the test binary in every case; a directory that
// a killed test binary left is removed by the next one that starts a database.
package database
