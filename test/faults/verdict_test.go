package faults

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// verdict ends the clients' work when all faults are over, waits until every watch has told the last of it, and judges.
func (c *crowd) verdict() {
	c.Helper()
	close(c.stop)
	c.wait.Wait()
	last := map[string]int64{}
	final := &writer{crowd: c, number: 999, chance: c.chance(999), objects: map[string]map[string]any{}}
	for n, r := range []*resource{resources[0], resources[1]} {
		c.until("a write is acknowledged", func() bool {
			before := c.acks.Load()
			final.act(r, fmt.Sprintf("last-%d-%d", n, final.count), c.hosts[0])
			return c.acks.Load() > before
		})
		last[r.prefix] = c.known.Load()
	}
	for _, f := range c.followers {
		if !c.until("a watch tells the last write", func() bool { return f.end.Load() >= last[f.resource.prefix] }) {
			c.Errorf("%s is at %d, the last write is %d", f.resource.path, f.end.Load(), last[f.resource.prefix])
		}
	}
	for n, host := range c.hosts {
		for _, r := range resources {
			l := list{how: fmt.Sprintf("the last list of server %d", n), prefix: r.prefix, known: c.known.Load()}
			c.until("a list is answered", func() bool {
				l.items, l.revision = nil, 0
				one := &crowd{stage: c.stage}
				one.hosts = []string{host}
				return one.pages(r, &l, "?limit=0", c.chance(998))
			})
			c.note(func(n *notes) { n.lists = append(n.lists, l) })
		}
	}
	close(c.done)
	c.watching.Wait()
	for n := range c.servers {
		if !c.servers[n].Running() {
			c.Errorf("server %d ended by itself", n)
			continue
		}
		c.compare(n)
	}
	entries, err := c.log()
	if err != nil {
		c.Fatal(err)
	}
	found := judge(entries, &c.notes, ownerOf)
	for _, f := range found[:min(len(found), 30)] {
		c.Error(f)
	}
	if len(found) > 30 {
		c.Errorf("and %d more", len(found)-30)
	}
	c.tell(entries)
}

// until waits for something.
func (c *crowd) until(what string, holds func() bool) bool {
	c.Helper()
	const limit = 90 * time.Second
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			c.Errorf("after %s it is not so that %s", limit, what)
			return false
		}
	}
	return true
}

// tell says what the verdict rests on, and fails when that is little.
func (c *crowd) tell(entries []entry) {
	c.Helper()
	of := map[outcome]int{}
	for _, w := range c.notes.writes {
		of[w.outcome]++
	}
	events, shown := 0, 0
	for _, w := range c.notes.watches {
		events += len(w.events)
	}
	for _, l := range c.notes.lists {
		shown += len(l.items)
	}
	c.Logf("%d entries; writes: %v; %d reads, %d lists of %d objects, %d watches of %d events; %d comparisons by the servers",
		len(entries), of, len(c.notes.reads), len(c.notes.lists), shown, len(c.notes.watches), events, c.compared)
	why := slices.SortedFunc(maps.Keys(c.doubts), func(a, b string) int { return cmp.Compare(c.doubts[b], c.doubts[a]) })
	for _, w := range why[:min(len(why), 5)] {
		c.Logf("%d writes were not answered for certain: %.200s", c.doubts[w], w)
	}
	if of[acknowledged] < 20 || len(c.notes.lists) < 10 || events < 20 {
		c.Errorf("this proves little")
	}
}
