// Package proxytest makes the certificates that tests of the proxy's parts need, good ones and bad ones.
//
// It is for tests only, and must not decide anything: whom to believe is what the tests are about.
package proxytest
