// Package objects makes federated objects for tests of conversion: from any bytes, so that a fuzzer can steer it, and
// shaped like the schemas, so that the steering finds the corners (names that look like another namespace's unit,
// duplicates, every shape of selector, nulls where a schema would drop them).
//
// It is a package of its own because the pure functions, the webhook and a real API server are tested with the same
// objects. It must not import what it helps to test.
package objects
