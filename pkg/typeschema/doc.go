// Package typeschema makes the CustomResourceDefinition of a federated type from its FederatedTypeConfig: both forms,
// their schemas, short names, table columns, and where conversions are asked for.
//
// The schemas are closed and have no defaults, except that templates, override values and member statuses hold
// anything. This is what makes conversion lossless through a real API server: it prunes each converted object by the
// schema of the version it became, so whatever one schema admits, the other one must be able to say, and a default in
// one form would be a change in the other. So each form declares the words of the other that may stand in it verbatim
// (see pkg/topology), and lists are atomic, because entries may repeat.
//
// The package must not talk to a cluster: what members know (short names, a field for replicas) comes as Options. It
// must not judge federated objects either; a schema says what can be stored, and admission what makes sense.
package typeschema
