// Package render makes the member's object from a revision's content: one order of operations, in one place.
//
// The order is KubeFed's: template, identity, what the member owns, overrides, marks. Marks come last so that no
// override can take them away, and overrides are judged by what came out, not by the paths they name. It must not
// decide whether the object is to be written, nor know why.
//
// The same rules tell drift from what is none (Lens), so that what is kept at a write is never taken for a reason to
// write; and they make a write anew of a copy that somebody changed meanwhile (Rebase).
package render
