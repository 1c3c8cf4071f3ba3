package host

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"

	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// LoggerName is the name of the logger whose lines are CellFed's own.
const LoggerName = "cellfed"

// Log starts logging as configured, once per process. The API machinery tells
// some two hundred things at every start that only matter to its developers; at
// verbosity 0 such lines of libraries are left out, and what remains is CellFed's
// own lines and everybody's warnings and errors.
//
// The returned function is to be called when the process is told to end: from
// then on, libraries only complain that the plane has gone, which it shall, and
// that requests were cancelled, for which client-go borrows CellFed's logger.
func Log(c *logsapi.LoggingConfiguration, gate featuregate.FeatureGate, out io.Writer) (ending func(), err error) {
	q := &quiet{Writer: out}
	if c.Verbosity == 0 && c.Format == logsapi.DefaultLogFormat {
		out = q
	}
	err = logsapi.ValidateAndApplyWithOptions(c, &logsapi.LoggingOptions{ErrorStream: out, InfoStream: out}, gate)
	return func() { q.ending.Store(true) }, err
}

var (
	ownLine = []byte(`logger="` + LoggerName)
	// noise is a warning that libraries write at every start, and that nobody can
	// do anything about.
	noise = []byte("because it has no resources.")
	// cancelled is what every request ends with that was under way at the end.
	cancelled = []byte(context.Canceled.Error())
)

// quiet drops what libraries tell unasked. The text format writes each entry at
// once, its severity first.
type quiet struct {
	io.Writer
	ending atomic.Bool
}

// Write implements io.Writer.
func (q *quiet) Write(p []byte) (int, error) {
	own := bytes.Contains(p, ownLine)
	if q.ending.Load() && (!own || bytes.Contains(p, cancelled)) {
		return len(p), nil
	}
	if !own && (len(p) > 0 && p[0] == 'I' || bytes.Contains(p, noise)) {
		return len(p), nil
	}
	return q.Writer.Write(p)
}
