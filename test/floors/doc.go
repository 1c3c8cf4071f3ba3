// Package floors is the law of the house as a test: which package may import which, what a pure package may not know,
// and which heavy library has which one door. The failure tells the reason, so that nobody has to ask for it.
//
// It must not look at what code does, only at what it names. It is a test and not only linter settings because tests
// run everywhere, for everybody, in a second; .golangci.yml says the same for editors.
//
// A new package fails until it is put on a floor in the table of house.go: that is the moment to think about it.
package floors
