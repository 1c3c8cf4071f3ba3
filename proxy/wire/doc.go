// Package wire is what both ends of a tunnel hold to about their packets.
//
// The packets themselves are apiserver-network-proxy's. It must not import anything heavy: agents link it.
package wire

// MostData is the most bytes that one packet should carry. gRPC keeps the encoded packet, here and where it arrives, in a
// buffer of one of a few sizes, which it clears first: one byte more than 32 KiB would take 1 MiB. What is not data takes
// less than what is left.
const MostData = 32<<10 - 64
