// Package samples proves that config/samples is what an API server of the plane takes: it decodes each file as strictly
// as a schema can, and knows no object that is not said to be one.
//
// It needs no plane; test/e2e applies the same files to a real one.
package samples
