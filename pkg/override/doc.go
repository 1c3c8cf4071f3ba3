// Package override reads the overrides of a federated object and applies one cluster's to its rendering.
//
// It must not know where an object goes, nor what an override is for: it is RFC 6902 with the three operations that
// federated types declare (add, remove, replace), on a copy. It never changes what it is given and never panics,
// whatever users wrote.
//
// It is a small implementation of its own, not a JSON patch library, because rendering runs per object and unit:
// a round trip through JSON text would cost most of the time and turn int64 into float64. Where the RFC and KubeFed
// differ, KubeFed's behaviour is kept, since its manifests apply unchanged: replacing a key that is missing in an
// object adds it, an index may count from the end (-1 is the last), and an absent value is null. A fuzz test
// compares with the library that KubeFed used.
//
// What overrides may not do is judged by the result (Escapes): a list of forbidden paths can be walked around, for
// example by replacing /metadata.
package override
