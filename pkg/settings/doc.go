// Package settings reads what a KubeFedConfig asks for.
//
// It reads value by value from the object as it is stored, because what is stored may have come past admission: a value
// that cannot be read is told with its path, and what was in force in its place stays in force; the others count. There
// is one Read for admission, which refuses what it tells, and for the running plane.
//
// It must not know of defaults other than those that it is given: an absent value is the process's own configuration.
package settings
