// Package process starts processes that never outlive the test that started them, and sends them signals.
//
// It must not know what it starts, and must import nothing but the standard library: tests of storage use it and
// must not wait for Kubernetes to be compiled.
//
// Why it is like this: a test that panics or is killed runs no Cleanup, and a database that stays behind holds its
// port, its memory and its directory. Only the kernel can end it then.
package process
