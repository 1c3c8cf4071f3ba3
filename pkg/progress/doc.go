// Package progress shows how far a long step has come: one line that is drawn anew on a terminal, a plain line now and
// then in a pipe or a log.
//
// It must not know what is being counted. It exists because a first build takes minutes, and so does a restore of a large
// database, and minutes without a word look like a hang.
package progress
