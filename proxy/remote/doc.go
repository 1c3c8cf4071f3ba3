// Package remote dials members through proxy servers that run in other processes, in the protocol of
// konnectivity-client, and knows from their rosters which of them has a member's agents.
//
// It speaks the protocol itself: konnectivity-client makes a TLS connection for every dial, and its net.Conn has no
// deadlines. Here all that is dialled through a server shares one connection, and HTTP/2 gives each its own flow control.
//
// A dial goes to a server that has an agent of the member now, to another one of those when that one fails, and to none
// otherwise: a server that cannot be reached costs nobody a moment. It must not know how certificates are made or where
// servers are: it is told both.
package remote
