// Package retain says which fields of a copy belong to the member, by group and kind, and keeps them: what the member
// holds there is put into what the plane is about to write, and its changing is no drift.
//
// It must not know why an object is written. There are two sorts of fields. Some are the member's whatever the template
// says: the template's value counts at creation only (a Service's cluster IP, replicas that a member's autoscaler sets,
// and what a FederatedTypeConfig lists). Others are the member's where the template says nothing (a webhook's CA
// bundle). The first sort is KubeFed's rule, extended; the second is for what KubeFed forgot, where a template that says
// something means it. Overrides come later and win over both, as in KubeFed.
//
// The table (builtin.go) goes by group and kind, not by kind alone: somebody's CRD may be called Service too.
package retain
