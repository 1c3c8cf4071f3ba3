// Package report makes a federated object's status from what was planned and what came of it.
//
// It must not read or write anything, and must not decide what is done: it tells it. It is the only place that knows
// the conditions, their reasons and the events that follow from their changes, so that status, events, CLI and log
// never tell different stories. Equal findings make equal statuses, byte for byte: nothing is written for nothing.
package report
