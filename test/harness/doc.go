// Package harness starts the built binaries for tests, demo and benchmarks: real members, and planes over them.
//
// It must not link Kubernetes components or storage: it runs the binaries that do, from bin/ or from
// CELLFED_BIN_DIR, so that test binaries stay small and what is tested is what users run. It must not leave a
// process behind, whether a test passes, fails, panics or is killed.
//
// Why it is like this: everything that starts returns an error in one form, for TestMain and tools, and ends the
// test in the other. What is started belongs to the test that started it and ends with its Cleanup.
package harness
