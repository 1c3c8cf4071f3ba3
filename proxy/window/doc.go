// Package window holds up the writer of a connection through a tunnel whose reader is slow, and nobody else.
//
// A stream of ANP's protocol carries many connections without flow control for each: when the reader of one does not read,
// whoever receives the stream must hold up all the others or end that one. But it is ordinary to be slow: a file that is
// written to a slow disk through exec, or logs in a pager. So an agent and a server that both know windows say in their
// metadata how much of each connection may be under way to them, and then tell how much was taken. Unmodified agents and
// servers say no such thing, see none of it, and are treated as ever.
//
// It must not send, receive or know connections: it counts, and puts into packets what is told. The other end is not
// trusted to keep to it; the bounds on what is held for a connection are those of whoever holds it.
package window
