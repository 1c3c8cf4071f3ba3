// Package overridetest makes documents and overrides that try to change what an object is: out of bytes, so that a fuzzer
// changes choices and not letters.
//
// It must not be imported outside tests.
package overridetest
