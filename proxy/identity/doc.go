// Package identity is who an agent of a member is: the words that stand in its certificate, and what they mean.
//
// A member's agents are known by two things. The cluster is the name of the KubeFedCluster that they serve. The enrolment
// is a random name that `kubectl cellfed join --tunnel` gives to one generation of agents: it stands in the KubeFedCluster
// and in the certificates, so that revoking, joining anew, and a member of the same name that comes later each make all
// former certificates worthless at once, without a list of revoked ones.
//
// Everything stands in the common name, which the API server also takes for the user's name: so whoever asks for a
// renewal is compared with what they ask for by one comparison of strings.
//
// The package is values in, values out. It must not read files or ask a server: the proxy, the agent and the signer all
// decide with it, and must decide the same.
package identity
