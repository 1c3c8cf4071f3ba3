package abandonment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	topologyv1alpha1 "github.com/cellfed/cellfed/pkg/apis/topology/v1alpha1"
	"github.com/cellfed/cellfed/pkg/member"
)

const (
	// mostListed is how many leftovers a status lists, mostNamed how many a message names.
	mostListed, mostNamed = 100, 5
)

// watched is what is known of a member between two looks.
type watched struct {
	// due is when to look next; confirming: then it is for the second time.
	due        time.Time
	confirming bool
	found      map[types.UID]topologyv1alpha1.Leftover
}

// patrol looks into all members, one at a time.
type patrol struct{ *Controller }

// Start implements manager.Runnable.
func (p patrol) Start(ctx context.Context) error {
	cancel := p.fleet.Subscribe(p.heard)
	defer cancel()
	for _, name := range p.fleet.Names() {
		p.heard(member.Event{Member: name})
	}
	timer := time.NewTimer(p.opts.Calm)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.kicked:
		case <-timer.C:
		}
		for name := p.next(time.Now()); name != "" && ctx.Err() == nil; name = p.next(time.Now()) {
			p.inspect(ctx, name)
		}
		timer.Reset(p.pause(time.Now()))
	}
}

// heard puts off the look at a member whose views have just changed as a whole, and makes sure that there will be one.
func (p patrol) heard(e member.Event) {
	if e.Name != "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits[e.Member] = &watched{due: time.Now().Add(p.opts.Calm)}
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}

// next is a member that is due; "" = none is.
func (p patrol) next(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, w := range p.waits {
		if !w.due.After(now) {
			return name
		}
	}
	return ""
}

// pause is how long it is until the next member is due.
func (p patrol) pause(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.opts.Again
	for _, w := range p.waits {
		d = min(d, w.due.Sub(now))
	}
	return max(d, 10*time.Millisecond)
}

// inspect looks into one member.
func (p patrol) inspect(ctx context.Context, name string) {
	p.mu.Lock()
	w := p.waits[name]
	p.mu.Unlock()
	if _, err := p.fleet.Member(name); err != nil {
		p.forget(name, w) // its return is an event
		return
	}
	found, complete, err := p.leftovers(ctx, name, false)
	next := &watched{due: time.Now().Add(p.opts.Again)}
	switch {
	case err != nil:
		p.forget(name, w)
		return
	case w.confirming:
		found = both(w.found, found)
		if len(found) > 0 || complete {
			p.tell(name, told(found))
		}
	case len(found) > 0:
		next = &watched{due: time.Now().Add(p.opts.Confirm), confirming: true, found: found}
	case complete:
		p.tell(name, "")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits[name] == w { // else something was heard meanwhile
		p.waits[name] = next
	}
}

func (p patrol) forget(name string, w *watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits[name] == w {
		delete(p.waits, name)
	}
}

// both is what two looks have shown.
func both(a, b map[types.UID]topologyv1alpha1.Leftover) map[types.UID]topologyv1alpha1.Leftover {
	out := map[types.UID]topologyv1alpha1.Leftover{}
	for uid, l := range b {
		if _, there := a[uid]; there {
			out[uid] = l
		}
	}
	return out
}

// first are the first leftovers by their names.
func first(found map[types.UID]topologyv1alpha1.Leftover) []topologyv1alpha1.Leftover {
	all := slices.SortedFunc(maps.Values(found), func(a, b topologyv1alpha1.Leftover) int {
		return strings.Compare(a.Type+"/"+a.Namespace+"/"+a.Name, b.Type+"/"+b.Namespace+"/"+b.Name)
	})
	return all[:min(len(all), mostListed)]
}

func counted(n int) string {
	if n == 1 {
		return "1 object that the plane made is there and is kept by no federated object"
	}
	return fmt.Sprintf("%d objects that the plane made are there and are kept by no federated object", n)
}

// told says what was found in a member; "" = nothing was.
func told(found map[types.UID]topologyv1alpha1.Leftover) string {
	if len(found) == 0 {
		return ""
	}
	var names []string
	for _, l := range first(found) {
		if len(names) == mostNamed {
			break
		}
		where := ""
		if l.Namespace != "" {
			where = l.Namespace + "/"
		}
		names = append(names, fmt.Sprintf("%s %s%s", l.Type, where, l.Name))
	}
	more := ""
	if len(found) > len(names) {
		more = fmt.Sprintf(" and %d more", len(found)-len(names))
	}
	return fmt.Sprintf("%s: %s%s; the plane never deletes them", counted(len(found)), strings.Join(names, ", "), more)
}
