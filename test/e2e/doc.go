// Package e2e has the laws of the product as tests over the built binaries: a plane in a process of its own, three real
// members, and stock kubectl.
//
// One plane and one set of members serve all tests of the package; each test has a namespace, units and member
// namespaces of its own. Tests that stop, freeze or kill something put it back.
package e2e
