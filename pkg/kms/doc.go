// Package kms speaks to KMS v2 plugins, and watches over them.
//
// The API server's library has a client of its own, and asks a plugin for its health once a minute, or every ten seconds while
// it is unwell; its connection waits up to two minutes before it tries again. This package puts itself between the two: a
// plugin is asked every two seconds, or four times a second while it does not answer, and the library learns at once that it is
// back, or has another key. It tells that in a readiness check, in the log and in metrics.
//
// It must not keep, cache or log what it encrypts and decrypts, and it decides nothing: for how long data keys may be used
// while their plugin is away is the library's to say.
package kms
