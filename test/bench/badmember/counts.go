package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// counts are what releases cost, or what has been spent since the processes began. They do not depend on what else the
// machine does, as times do.
type counts struct {
	// plane and members are requests: "update federatedconfigmaps/status".
	plane, members map[string]float64
	// looks are how often the plane looked at a federated object.
	looks float64
	// cpu is the plane's.
	cpu time.Duration
}

// count is what has been spent so far.
func (b *bench) count(ctx context.Context) (c counts, err error) {
	c.plane, c.members = map[string]float64{}, map[string]float64{}
	if err := scrape(ctx, b.plane.RestConfig(), func(name string, labels map[string]string, value float64) {
		switch name {
		case "apiserver_request_total":
			if isWrite(labels["verb"]) {
				c.plane[requestOf(labels)] += value
			}
		case "controller_runtime_reconcile_total":
			if labels["controller"] == "federatedconfigmap" {
				c.looks += value
			}
		}
	}); err != nil {
		return c, fmt.Errorf("reading what the plane counts: %w", err)
	}
	for _, m := range b.members.Members[:2] {
		if err := scrape(ctx, m.Config, func(name string, labels map[string]string, value float64) {
			if name == "apiserver_request_total" && labels["resource"] == "configmaps" && labels["verb"] != "WATCH" {
				c.members[requestOf(labels)] += value
			}
		}); err != nil {
			return c, fmt.Errorf("reading what member %s counts: %w", m.Name, err)
		}
	}
	c.cpu, err = processorTime(b.plane.PID())
	return c, err
}

func isWrite(verb string) bool {
	switch verb {
	case "POST", "PUT", "PATCH", "APPLY", "DELETE":
		return true
	}
	return false
}

func requestOf(labels map[string]string) string {
	what := strings.ToLower(labels["verb"]) + " " + labels["resource"]
	if sub := labels["subresource"]; sub != "" {
		what += "/" + sub
	}
	return what
}

// per is what one of so many releases cost, from one count to the next.
func (c counts) per(releases int, before counts) counts {
	n := float64(releases)
	return counts{
		plane: less(c.plane, before.plane, n), members: less(c.members, before.members, n),
		looks: (c.looks - before.looks) / n, cpu: (c.cpu - before.cpu) / time.Duration(releases),
	}
}

func less(now, before map[string]float64, n float64) map[string]float64 {
	out := map[string]float64{}
	for what, v := range now {
		if d := v - before[what]; d > 0 {
			out[what] = d / n
		}
	}
	return out
}

// writes are those to objects that releases concern: members' states, leases and the like are written anyhow.
func (c counts) writes() (sum float64) {
	for what, n := range c.plane {
		if strings.Contains(what, "federatedconfigmaps") || strings.Contains(what, "revisions") || strings.Contains(what, "events") {
			sum += n
		}
	}
	return sum
}

// scrape reads an API server's /metrics.
func scrape(ctx context.Context, config *rest.Config, each func(name string, labels map[string]string, value float64)) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	page, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(page))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), "{")
		if !ok {
			continue
		}
		text, number, ok := strings.Cut(rest, "} ")
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			continue // a comment
		}
		labels := map[string]string{}
		for _, pair := range strings.Split(text, ",") { // what is read here has no commas in its values
			if k, v, ok := strings.Cut(pair, "="); ok {
				labels[k] = strings.Trim(v, `"`)
			}
		}
		each(name, labels, value)
	}
	return lines.Err()
}

// processorTime is what a process has had of the processors: the kernel counts it in hundredths of a second.
func processorTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the plane's processor time: %w", err)
	}
	_, after, _ := strings.Cut(string(raw), ") ") // its name may hold spaces
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, errors.New("reading the plane's processor time: the kernel does not tell it")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the plane's processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
