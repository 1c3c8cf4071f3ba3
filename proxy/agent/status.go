package agent

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// counts are what the agent tells of itself. They are written out by hand: the library for it would be a fifth of the
// binary.
type counts struct {
	streams, connections                           atomic.Int64
	opened, openFailures                           atomic.Int64
	dialled, failed, cancelled, refused, overLimit atomic.Int64
	stalled, violations                            atomic.Int64
	toServer, fromServer                           atomic.Int64
}

// metric is one line, or several of one name, which then stand one after the other.
type metric struct {
	name, kind, help, labels string
	value                    int64
}

func (a *Agent) metrics() []metric {
	c := &a.counts
	dials := func(result string, n int64) metric {
		return metric{"dials_total", "counter", "Attempts of servers to reach an address in the member, by what came of them.", `{result="` + result + `"}`, n}
	}
	bytes := func(direction string, n int64) metric {
		return metric{"bytes_total", "counter", "Bytes carried, by direction.", `{direction="` + direction + `"}`, n}
	}
	expires := int64(0)
	if certificate, _ := a.opts.Credentials.Current(); certificate != nil && certificate.Leaf != nil {
		expires = certificate.Leaf.NotAfter.Unix()
	}
	return []metric{
		{"streams", "gauge", "Streams to servers.", "", c.streams.Load()},
		{"stream_opens_total", "counter", "Streams that were opened.", "", c.opened.Load()},
		{"stream_open_failures_total", "counter", "Attempts to open a stream that failed.", "", c.openFailures.Load()},
		{"connections", "gauge", "Connections, with attempts under way.", "", c.connections.Load()},
		dials("connected", c.dialled.Load()), dials("failed", c.failed.Load()), dials("cancelled", c.cancelled.Load()),
		dials("refused", c.refused.Load()), dials("over_limit", c.overLimit.Load()),
		bytes("to_server", c.toServer.Load()), bytes("from_server", c.fromServer.Load()),
		{"queued_bytes", "gauge", "Bytes that wait for connections to take them.", "", a.queued.Load()},
		{"stalled_connections_total", "counter", "Connections that were ended because they took no bytes.", "", c.stalled.Load()},
		{"protocol_violations_total", "counter", "What servers sent that they should not have, or faster than they read the answers.", "", c.violations.Load()},
		{"certificate_expiration_timestamp_seconds", "gauge", "When the certificate ends; 0 without one.", "", expires},
	}
}

func (a *Agent) writeMetrics(w io.Writer) {
	last := ""
	for _, m := range a.metrics() {
		name := "cellfed_agent_" + m.name
		if name != last {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, m.help, name, m.kind)
		}
		last = name
		fmt.Fprintf(w, "%s%s %d\n", name, m.labels, m.value)
	}
}

// Handler answers /healthz (the process is alive), /readyz (there is a stream to at least one server) and /metrics.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.Connected(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		a.writeMetrics(w)
	})
	return http.TimeoutHandler(mux, 5*time.Second, "")
}
