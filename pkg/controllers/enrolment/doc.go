// Package enrolment gives members' agents their certificates: it approves or denies the CertificateSigningRequests of one
// signer, cellfed.io/tunnel-agent, signs those that are approved, and clears away what they leave.
//
// It must not decide by itself who gets what: proxy/enrolment does. What is here is what those rules cannot do, being
// pure: to read the token and the member as they are now and not as a cache has them, to bind a token to the key that it
// is used for before anything is granted, and to write the answer.
//
// Requests of other signers are not looked at. An approval by hand is heeded, and gets no more than what the rules about
// the subject allow: these are asked again when it is signed.
package enrolment
