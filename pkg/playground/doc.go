// Package playground runs real Kubernetes members on one machine for demo, tests and benchmarks: it starts one
// process per member, watches over them, and lets other processes stop, start, pause and resume them.
//
// It must not link Kubernetes components: what a member is made of is in memberserver below it, which runs in
// the members' processes only. So tests and tools can import this package cheaply. It never ends the process;
// Up returns. It writes nothing outside the playground's directory.
//
// Why it is like this: members must die with whoever started them, however that ended. A normal end is ordered
// by the supervisor (SIGTERM, and SIGKILL after a while); against kill -9 there are two nets, the kernel's
// parent-death signal and a standard input that closes. A member that dies by itself is reported and stays in
// the status as Failed; the others go on.
//
// A directory belongs to one running playground, by a lock that the system gives back when its holder dies. A
// directory left behind by kill -9 can be brought up again: each member finds its data, its certificates and its
// port, so that kubeconfigs handed out before stay valid. To start afresh remove the directory.
//
// A member behind a firewall is in a network namespace with nothing but loopback. One thread of the supervisor makes it, starts
// the member's processes in it, and opens there the ports that lead out; what others run inside enters by itself (Enter). There
// is no veth, no route and no filter to set up or to forget, and the namespace, without a name, goes with its last
// process. Where none can be made a doorkeeper stands at the member's port and tells processes apart by their sockets. It
// keeps honest programs out, not attackers: the member listens at a second port behind it.
//
//	DIR/playground.lock, playground.json   the lock; where the running playground listens, and the secret
//	DIR/<name>/kubeconfig                  administrator of the member
//	DIR/<name>/log, audit.log              what its process prints; who asked what of it, if asked for
//	DIR/<name>/port, pki/, state.db        what makes it the same member next time
//
// Figures, on two cores that others kept busy at a load of 6 to 9: three members are ready 8.3 s after their start
// without nodes and 6.6 to 15.2 s with one node each; one alone with two nodes in 3.1 s at a load of 2. A member
// holds 261 to 269 MiB, with or without scheduler and node, at GOGC=50 (305 to 317 MiB at Go's own 100, for which
// idling costs no less); three idle members use 3 to 4 % of one core. A member comes back 2.0 s after a stop, and
// a playground of three is down in 1.3 s. A Deployment of 20 replicas is available within 0.7 s.
package playground
