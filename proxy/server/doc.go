// Package server is the door of the tunnels: a gRPC listener with mutual TLS, for the agents of members and for clients that
// dial through them.
//
// Two authorities are asked, one for each role: a certificate of the one is worth nothing in the other's place, also where
// one TLS handshake accepts both. Whom an authority vouches for no more, because it was taken out of the pool, is sent away
// within a second of Trust saying so. What is refused is told to the one who is refused, logged once in a while, and counted.
//
// A client is any konnectivity client. It names the member in the metadata of its stream (cellfed-cluster), and, if it is
// for short answers rather than for bulk, the lane (cellfed-lane: control). What it sends is taken as bytes of the one
// connection that it has dialled; the connection numbers in it lead nowhere else.
//
// HTTP CONNECT, ANP's other way in, is not served. The package must not decide which members there are, or who may dial:
// the hub and a function say so.
package server
