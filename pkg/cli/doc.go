// Package cli is kubectl's plugin: `kubectl cellfed join`, `unjoin`, `abandon`, `status`, `history`, `rollback` and `version`.
//
// It must not decide what the plane decides, and must not link Kubernetes or a controller manager: it is downloaded to
// laptops. kubectl's own global flags address the plane, as they address any API server; the member has flags of its own.
//
// Two things differ from KubeFed's command on purpose. Unjoin refuses while anything of the plane is left on the member,
// and deletes in the member only what join made there and marked; KubeFed deletes the member's whole namespace. And the
// member's identity, the UID of its kube-system namespace, is kept with the KubeFedCluster: the same member under two
// names, another member under a known name, and the plane as its own member are refused before anything is written.
//
// Rollback works on the cluster form, because revisions are named by it, and writes the form that the object is best said
// in. It computes with the plane's own functions what each unit will be asked for, and writes only if that is exact.
package cli
