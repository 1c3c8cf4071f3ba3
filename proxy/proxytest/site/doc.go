// Package site runs proxy servers and agents in a test's own process, over real connections on loopback.
//
// It is for tests only, and apart from package proxytest because the tests of what it runs need certificates as well.
package site
