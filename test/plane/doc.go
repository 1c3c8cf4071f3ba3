// Package plane tests the built cellfed binary from outside: what its users and
// operators are promised, by real processes, signals and files.
package plane
