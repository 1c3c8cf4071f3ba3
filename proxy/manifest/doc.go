// Package manifest is what stands in a member that has an agent: the objects that kubectl cellfed join --tunnel applies
// there, or prints for somebody else to apply.
//
// It must not reach any cluster: it is values in, objects out. The agent's command line is here and nowhere else in the
// CLI, and a test runs the built agent on it.
//
// The agent's key and certificate are kept in a Secret, and not in an emptyDir. A bootstrap token is good for one key: an
// emptyDir outlives a container that is started again, but not its Pod, and the next Pod (a drained node, a new image)
// would come with a new key and a token that was used already, and be denied until somebody joins the member anew. The
// Secret outlives Pods; several replicas share it, and with it one certificate. The agent may read and patch that one
// Secret and nothing else in the member. Whoever reads it is the agent until the enrolment is revoked, as is whoever
// reads the token while that is unused: the namespace is the agent's own for that reason.
package manifest
