// Package render makes the member's object from a revision's content: one order of operations, in one place.
//
// The order is KubeFed's: template, identity, what the member owns, overrides, marks. Marks come last so that no
// override can take them away, and overrides are judged by what came out, not by the paths they name. It must not
// decide whether the object is to be written, nor know why.
package render
