package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/proxytest"
)

func TestAThousandIdleAgentsFitInOneServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for keepalives")
	}
	var members []string
	for n := range of(1000, 100) {
		members = append(members, fmt.Sprint("m-", n))
	}
	server := openAlone(t, members)
	empty, _ := server.memory(t)
	address := proxytest.Target(t, echo)
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	began := time.Now()
	for _, m := range members {
		server.keep(ctx, t, &running, m, address, server.address)
	}
	server.streams(t, 2*len(members), 5*time.Minute)
	connected := time.Since(began)

	// Longer than a connection may be silent, so that both ends have asked the other.
	time.Sleep(keepaliveTime + keepaliveTimeout)
	server.streams(t, 2*len(members), time.Second)
	idle, most := server.memory(t)
	each := float64(idle-empty) / float64(len(members))
	t.Logf("%d agents were connected after %s; the server has %d MiB with them, had at most %d and %d without any: %.0f KiB for each",
		len(members), connected.Round(time.Millisecond), idle>>10, most>>10, empty>>10, each)
	const limit = 500 << 10
	if will := float64(empty) + 1000*each; will > limit && !racing() {
		t.Errorf("a thousand agents take %.0f MiB", will/1024)
	}
	for n := range 10 {
		c, err := server.client(t, "operator", members[n*len(members)/10], address, server.clients)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, c, "are you there?")
		_ = c.Close()
	}
}

// racing tells whether the race detector is there, which has memory of its own for all memory.
func racing() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
