// Package conversion answers ConversionReviews with the laws of pkg/topology: as a function, for a plane that converts in
// its own process, and as an HTTP handler.
//
// An API server asks once per object and version, so a review costs hardly more than reading its bytes. Most of them
// are of no concern to conversion (templates, override values, the members' statuses): partial.go decodes only what the
// law can touch and carries the rest through as it was written. There is one law, though, which sees ordinary maps in
// which some values happen to be undecoded; a second, textual implementation would sooner or later disagree with it.
//
// The package must not know any object by more than its bytes: no client, no cache, no configuration. What a review asks
// is answered from the review.
package conversion
