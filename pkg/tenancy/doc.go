// Package tenancy says who owns a thing, the tenant and workspace that its labels name, and which owners may use a
// member.
//
// It must not look anything up: namespaces own, and whoever asks brings the labels of both. The labels of an object
// are a copy of its namespace's, made at admission, so that one look at an object or a unit tells whose it is; nobody
// else's word counts.
//
// There are two measures, because there are two ways to a member. A unit comes by a grant: its member may serve many
// tenants, each in namespaces of its own. An object of topology type cluster names members itself, with nothing in
// between that was granted, so it reaches those of its own tenant only.
package tenancy
