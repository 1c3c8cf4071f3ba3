// Package faults has whole planes live through faults at random, and judges what their clients saw: databases whose
// connections are cut at a row, whose COMMIT is held, that answer with errors; servers that are killed (SIGKILL), also while
// they start.
//
// Two servers of one plane stand on one MariaDB, each behind a proxy of its own (test/mysqlproxy). Clients create, update
// (compare and swap), delete, read, list, page and watch ConfigMaps and FederatedConfigMaps in both forms, through either
// server, with plain HTTPS: client-go would ask again by itself, and what was asked twice proves less. All of them write
// down what they were told. In the end the database's own log is read, and everything that was told must fit it:
//
//   - an acknowledged write is one entry of the log, of the revision that was told, on top of what it claimed to replace;
//   - a refused write is no entry, and its reason was true; one without an answer is one entry or none;
//   - no entry was written by nobody, none twice, and no old value came back;
//   - a list, in pages or not, is exactly what the log holds at its resourceVersion, which is not older than what anybody
//     had been told before it was asked for;
//   - a watch, taken up where it ended on either server, tells the log's entries in their order, each once, none left out;
//     a bookmark does not run ahead of them.
//
// The judge (judge.go) is a pure function of the log and the notes. It must not look at the clock, nor know what was broken
// when: whatever was broken, the notes have to fit.
//
// A life lasts less than the five minutes after which an API server asks for the first compaction, so that the log is whole.
// Long runs are many lives:
//
//	make faults FAULTS=2000 KILLS=300
//	go test ./test/faults -run RandomFaults -timeout 0 -v -args -faults=2000
//	go test ./test/faults -run Killed/MariaDB -timeout 0 -v -args -kills=300
//
// A fault counts when it hit a statement that a server sent. All choices of a run come from its seed, which is told; -seed
// makes the same ones again, as far as the scheduler lets them meet the same statements.
package faults
