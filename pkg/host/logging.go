package host

import (
	"bytes"
	"io"

	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// LoggerName is the name of the logger whose lines are CellFed's own.
const LoggerName = "cellfed"

// Log starts logging as configured, once per process. The API machinery tells
// some two hundred things at every start that only matter to its developers; at
// verbosity 0 such lines of libraries are left out, and what remains is CellFed's
// own lines and everybody's warnings and errors.
func Log(c *logsapi.LoggingConfiguration, gate featuregate.FeatureGate, out io.Writer) error {
	if c.Verbosity == 0 && c.Format == logsapi.DefaultLogFormat {
		out = quiet{out}
	}
	return logsapi.ValidateAndApplyWithOptions(c, &logsapi.LoggingOptions{ErrorStream: out, InfoStream: out}, gate)
}

var ownLine = []byte(`logger="` + LoggerName)

// noise are warnings and errors of libraries that tell of nothing a reader could
// or should change: a matter of course at every start or end of a plane.
var noise = [][]byte{
	[]byte("because it has no resources."),
	[]byte("Failed to shutdown server: context deadline exceeded"),        // watches are open
	[]byte(`addrConn.createTransport failed to connect to {Addr: "unix:`), // the store, which tells itself
}

// quiet drops the informational lines of libraries, and noise. The text format
// writes each entry at once, its severity first.
type quiet struct{ io.Writer }

// Write implements io.Writer.
func (q quiet) Write(p []byte) (int, error) {
	if bytes.Contains(p, ownLine) {
		return q.Writer.Write(p)
	}
	if len(p) > 0 && p[0] == 'I' {
		return len(p), nil
	}
	for _, n := range noise {
		if bytes.Contains(p, n) {
			return len(p), nil
		}
	}
	return q.Writer.Write(p)
}
