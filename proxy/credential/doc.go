// Package credential is how an agent comes by its certificate and keeps it good: from files that somebody else renews
// (Files), or by asking the plane (Enroller), first with a bootstrap token and from then on with the certificate itself.
// The same certificate lets it keep a Secret at the plane equal to a file in the member (Deliverer).
//
// It must not link client-go: it speaks to two or three paths of two API servers, and the agent has to stay small. It
// decides nothing about who may have what; the plane does, and what it says on a denied request is told as it is.
//
// A token is good for one key. So the key is kept before it is used: whoever is killed at any moment goes on with the same
// key, the same request and the same token. Several agents of a member may share what is kept, and then share one
// certificate: what is written over what another wrote in between is a conflict, and who has it looks again.
package credential
