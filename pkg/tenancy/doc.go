// Package tenancy says who owns a thing: the tenant and workspace that its labels name.
//
// It must not look anything up: namespaces own, and whoever asks brings the labels of both. The labels of an object
// are a copy of its namespace's, made at admission, so that one look at an object or a unit tells whose it is; nobody
// else's word counts.
package tenancy
