// Package roster is how a proxy server tells which members' agents are connected to it, to those who dial through it
// from elsewhere: first all there are, then each change.
//
// ANP has no words for that, so it is a service of our own beside ANP's on the same port. It is told and not asked, so
// that whoever dials goes to a server that has the member's agents, and knows at once when they have gone.
//
// It must not decide who may listen (proxy/server does) nor what to make of what it hears (proxy/remote does).
package roster
