// Package enrolment is who gets a certificate for a tunnel, and which: the rules by which the plane judges the
// CertificateSigningRequests of members' agents, and what it makes of those that it grants.
//
// It must not read, write or look at the clock. All of it is values in, values out, because each rule stands between one
// member and all others, and a table has to be able to try every way around it.
//
// A request is judged by two kinds of rules. What it asks for (Read) must be one agent's identity and nothing else; that
// is looked at again when it is signed, whoever approved it. Who asks (Review) must be the bearer of a token that was made
// for just this identity and was used for no other key, or the very identity itself, and the member must still go by that
// enrolment. Nothing of the request finds its way into the certificate but the public key and the identity.
package enrolment
