package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/cellfed/cellfed/proxy/hub"
)

// bench is one execution of this program.
type bench struct {
	rounds int
	load   load
	only   string
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// way is how the server is reached.
type way struct {
	name string
	dial dialFunc
}

func (b *bench) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys, err := newKeys()
	if err != nil {
		return err
	}
	t, err := serveTarget(ctx, keys, b.load.body)
	if err != nil {
		return err
	}
	h, err := openTunnel(ctx, keys, t)
	if err != nil {
		return err
	}
	ways, err := b.ways(h)
	if err != nil {
		return err
	}
	taken := map[string][]figures{}
	for round := range b.rounds {
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			f, err := b.load.measure(ctx, w.dial, t)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			taken[w.name] = append(taken[w.name], f)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d is done\n", round+1, b.rounds)
	}
	fmt.Print(table(ways, taken, b.load.body))
	return nil
}

// ways are all ways to the server, the direct one first, or the one that is wanted.
func (b *bench) ways(h *hub.Hub) ([]way, error) {
	lane := func(l hub.Lane) way {
		return way{l.String(), func(ctx context.Context, _, address string) (net.Conn, error) { return h.Dial(ctx, member, address, l) }}
	}
	all := []way{{"direct", (&net.Dialer{}).DialContext}, lane(hub.Control), lane(hub.Bulk)}
	if b.only == "" {
		return all, nil
	}
	i := slices.IndexFunc(all, func(w way) bool { return w.name == b.only })
	if i < 0 {
		return nil, fmt.Errorf("there is no way %q: say direct, control or bulk", b.only)
	}
	return all[i : i+1], nil
}
