// Package etcdlog takes the voice of the API server's etcd client. Left alone,
// that client writes JSON to standard error, past all logging configuration, each
// time a request to the store is cancelled: dozens of lines whenever a plane
// ends. Here its entries become verbose entries of the process's own log; what
// goes wrong for good reaches the API server as an error anyway.
//
// The API server makes that logger while it initialises its packages, from a
// variable that this package changes while it initialises itself. Go initialises,
// of the packages that are ready, the one first whose path sorts first: this one.
// To stay ready early it must import next to nothing, and no package of CellFed.
package etcdlog

import (
	"bytes"
	"net/url"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

const scheme = "cellfed-klog"

// verbosity is the one at which Kubernetes shows detail to those who debug.
const verbosity = 4

func init() {
	// The scheme is taken only if this ran twice, which it cannot; a voice that
	// was not taken is no reason not to start.
	if err := zap.RegisterSink(scheme, func(*url.URL) (zap.Sink, error) { return sink{}, nil }); err != nil {
		return
	}
	logutil.DefaultZapLoggerConfig.OutputPaths = []string{scheme + ":"}
}

// sink hands entries to klog.
type sink struct{}

// Write implements zap.Sink.
func (sink) Write(p []byte) (int, error) {
	klog.V(verbosity).InfoS("Client of the store", "entry", string(bytes.TrimSpace(p)))
	return len(p), nil
}

// Sync implements zap.Sink.
func (sink) Sync() error { return nil }

// Close implements zap.Sink.
func (sink) Close() error { return nil }
