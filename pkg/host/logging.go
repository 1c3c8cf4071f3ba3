package host

import (
	"bytes"
	"context"
	"io"
	"slices"
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
// At no verbosity are bodies of requests and of answers logged, which client-go
// does from 8 on: they are secrets, or have some in them.
//
// The returned function is to be called when the process is told to end: from
// then on, libraries only complain that the plane has gone, which it shall, and
// that requests were cancelled, for which client-go borrows CellFed's logger.
func Log(c *logsapi.LoggingConfiguration, gate featuregate.FeatureGate, out io.Writer) (ending func(), err error) {
	out = confidential{out}
	q := &quiet{Writer: out}
	if c.Verbosity == 0 && c.Format == logsapi.DefaultLogFormat {
		out = q
	}
	err = logsapi.ValidateAndApplyWithOptions(c, &logsapi.LoggingOptions{ErrorStream: out, InfoStream: out}, gate)
	return func() { q.ending.Store(true) }, err
}

var (
	ownLine = []byte(`logger="` + LoggerName)
	// noise are warnings that nobody can do anything about: some are written at every
	// start, the last one with every attempt to connect, whose failure is told by
	// whoever wanted to.
	noise = [][]byte{
		[]byte("because it has no resources."),
		[]byte("features=[AllowUnsafeMalformedObjectDeletion]"),
		[]byte("addrConn.createTransport failed to connect"),
	}
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
	if !own && (len(p) > 0 && p[0] == 'I' || isNoise(p)) {
		return len(p), nil
	}
	return q.Writer.Write(p)
}

func isNoise(p []byte) bool {
	return slices.ContainsFunc(noise, func(n []byte) bool { return bytes.Contains(p, n) })
}

// bodies are the messages with which client-go logs what it sends and gets.
var bodies = [][]byte{[]byte(`"Request Body"`), []byte(`"Response Body"`)}

// confidential drops entries that are bodies. An entry is written at once, in the
// text format on any number of lines; in JSON it is one line, but a buffer may
// write several.
type confidential struct{ io.Writer }

// Write implements io.Writer.
func (c confidential) Write(p []byte) (int, error) {
	if !isBody(p) {
		return c.Writer.Write(p)
	}
	if p[0] != '{' {
		return len(p), nil
	}
	var others []byte
	for line := range bytes.Lines(p) {
		if !isBody(line) {
			others = append(others, line...)
		}
	}
	if len(others) == 0 {
		return len(p), nil
	}
	_, err := c.Writer.Write(others)
	return len(p), err
}

func isBody(p []byte) bool {
	return slices.ContainsFunc(bodies, func(b []byte) bool { return bytes.Contains(p, b) })
}
