// Package features names the feature gates: one for everything in which CellFed goes beyond KubeFed, and KubeFed's own.
//
// A gate has an owner, a stage, a default, and a word for what it governs. Switching one off holds the objects that
// use what it governs, with a reason; nothing is ignored in silence, because a field that is ignored may be the one that
// kept a release back. Who holds is pkg/controllers/propagation, who refuses new uses is webhooks/admission.
//
// It must not know where gates are set or who asks: a Gates is a value, its zero is the defaults, two are compared
// with ==. Kubernetes' own feature gates are not used: they are one mutable set for the whole process, which links an
// API server that has hundreds, while these change while the plane runs.
package features
