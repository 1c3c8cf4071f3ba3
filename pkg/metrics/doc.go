// Package metrics is what a plane tells monitoring: KubeFed's metrics under their own names, so that dashboards and alerts
// of its users go on working, and CellFed's own under cellfed_*.
//
// All of it is registered in Kubernetes' registry, which the API server serves at /metrics. What controller-runtime
// counts about its controllers lives in a registry of its own; a bridge brings the controller_runtime_* families over, and
// nothing else, since the process's and clients' own metrics are there already.
//
// Labels are bounded: members, federated types, and words that the code knows. Never an object's or namespace's name,
// never a message. What belongs to a member or a type goes when it goes.
package metrics
