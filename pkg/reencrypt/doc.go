// Package reencrypt has a running plane write anew what it encrypts, so that all of it is encrypted with the key that the plane
// uses now.
//
// It goes through the API and never touches the database, and so works on every backend and beside other writers: an object is
// written back just as it was read, which the API server stores anew when it was encrypted otherwise, and does not write at all
// when it was not. The answer's resourceVersion tells which. That is also how the end is verified: it is reached when a whole
// round over all objects was answered without one write. A run that was cut short is simply started again.
//
// It must not change what an object says, and must not take a server for current that is not: a plane that has not started with
// the configuration at hand, or does not use its plugin's current key yet, is refused or waited for.
package reencrypt
