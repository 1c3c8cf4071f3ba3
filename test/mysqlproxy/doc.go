// Package mysqlproxy stands between a client and a MySQL, MariaDB or OceanBase server, understands what they say, and
// spoils it where a rule says so: cuts connections at a row or a byte, holds a COMMIT, answers with an error, refuses
// writes, freezes, rewrites values so that one server looks like another. It counts every statement.
//
// It must not decide anything by the clock or by chance alone: a rule's choices come from the proxy's seed and from the
// order of statements, so that a failing run can be told again. It must not lose what it was not told to lose.
//
// Why it is like this: faults of a database that matter hit between two rows or between a COMMIT and its answer, where
// killing a process hits once in a million tries. The proxy takes away capabilities that it does not understand
// (compression, TLS, MariaDB's extensions) instead of guessing, and refuses commands that no Go client sends.
package mysqlproxy
