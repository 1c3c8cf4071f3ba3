// Package version says which CellFed this is.
//
// It must not find anything out: the linker writes the value (LDFLAGS in the Makefile), so that a binary says what it
// was built as, wherever it runs.
package version

// version is set by the linker.
var version = "unknown"

// String is the version, as git describes the commit that was built.
func String() string { return version }
