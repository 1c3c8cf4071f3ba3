// Package tunnels is the plane's end of its members' tunnels: it serves them, lets in the agents of exactly the members
// that have spec.tunnel, tells those who join members where to connect to, and is what the controllers dial through.
//
// It runs on every server of a plane, not only on the one that leads: agents hold tunnels to all of them, so that whoever
// leads next has them already. It reads KubeFedClusters, and writes one ConfigMap.
//
// It must not know what goes through a tunnel, nor make certificates (pkg/controllers/enrolment does).
package tunnels
