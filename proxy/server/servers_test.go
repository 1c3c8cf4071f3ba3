package server

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cellfed/cellfed/proxy/hub"
	"github.com/cellfed/cellfed/proxy/proxytest"
)

func TestWithTwoServersOneMayDie(t *testing.T) {
	one, two := open(t, hub.Options{Name: "one"}, "hz-1"), (*door)(nil)
	two = &door{serving: one.serving, agents: one.agents, clients: one.clients, registry: newRegistry(), log: &lines{}}
	two.listen(t, hub.Options{Name: "two"}, "127.0.0.1:0", "hz-1")
	cert := one.agents.Agent(t, "hz-1", nil)
	for _, d := range []*door{one, two} {
		d.agent(t, d.address, "a", cert)
		d.wait(t, "hz-1", 2)
	}
	address := proxytest.Target(t, echo)
	at := one.address
	one.stop()
	c, err := two.Dial(t.Context(), "hz-1", address, hub.Control)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, c, "hello")
	_ = c.Close()
	one.registry = newRegistry()
	one.listen(t, hub.Options{Name: "one"}, at, "hz-1")
	one.wait(t, "hz-1", 2)
}

// The servers are processes, so that one can be killed: nobody is told that it ends.
func TestWhenAServerIsKilledEveryMemberIsReachedThroughTheOtherAtOnce(t *testing.T) {
	var members []string
	for n := range of(200, 20) {
		members = append(members, fmt.Sprint("m-", n))
	}
	one := openAlone(t, members)
	two := one.another(t, "127.0.0.1:0", members)
	address := proxytest.Target(t, echo)
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	for _, m := range members {
		one.keep(ctx, t, &running, m, address, one.address, two.address)
	}
	one.streams(t, 2*len(members), time.Minute)
	two.streams(t, 2*len(members), time.Minute)
	reach := func(server *lonely) {
		t.Helper()
		began := time.Now()
		if said := server.tell(t, address); said != `"<nil>"` {
			t.Errorf("reaching all members: %s", said)
		}
		took := time.Since(began)
		t.Logf("all of %d members were reached within %s", len(members), took.Round(time.Millisecond))
		if *long && took > 2*time.Second { // the short run is one beside others
			t.Errorf("it took %s to reach all members", took)
		}
	}
	one.kill()
	reach(two)
	two.streams(t, 2*len(members), time.Second) // who lost the one server keeps the other

	back := one.another(t, one.address, members)
	began := time.Now()
	back.streams(t, 2*len(members), time.Minute)
	t.Logf("all agents were back %s after the server", time.Since(began).Round(time.Millisecond))
	reach(back)
}
