// Package playground tests the built cellfed-playground: that its members are real Kubernetes clusters for what
// federation does with them, and that nothing it starts outlives it, however it ends.
//
// It must not reach into the packages behind the binary other than through the playground's control client.
// Members take seconds to start, so one pair of them serves most tests here, one after the other.
package playground
