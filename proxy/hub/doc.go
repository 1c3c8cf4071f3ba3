// Package hub reaches members through the tunnels that their agents hold open. Agents connect, and whoever names a member
// and an address as seen from there gets a net.Conn.
//
// It speaks the protocol of apiserver-network-proxy (ANP, konnectivity) on ANP's own wire packages, so that an unmodified
// agent can serve a member and an unmodified konnectivity client can dial. It does not use ANP's server. That one keeps
// what belongs to a connection in maps that all agents share, keyed by what the agents say: names, identifiers, dial and
// connection numbers; a stalled reader holds up everything of its agent; dials that wait are not told when their agent
// dies; and it logs each packet that goes astray. Guarding around all that had become longer than the protocol, which
// is seven kinds of packets.
//
// What holds here by construction: a stream belongs to the member that its certificate names, and everything about a
// connection (its number, the dial it came from, its bytes) hangs on the stream that it runs over. There is no map in
// which the packets of one member could find a connection of another. What an agent says of itself in metadata is used
// for two things only: which of two lanes it lacks, and how much of a connection may be under way to it.
//
// Slow readers. A stream carries many connections one packet after the other. Our agents keep to windows (proxy/window),
// so that a reader that does not read holds up its own writer and nothing else, until some sixty of one stream have stopped
// altogether. ANP has no flow control for each connection, and with an unmodified agent such a reader must in the end hold
// up the others of its stream, or be ended. Each agent therefore holds two streams: one for control, where a reader that stalls is ended at once, and one for bulk,
// where it has seconds. Agents are told so in ANP's own way, as if there were two servers.
//
// It must not know how certificates are made or which members there are: it is told whom to admit.
package hub
