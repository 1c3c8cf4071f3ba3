package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cellfed/cellfed/pkg/playground"
)

const flock = 50

// each does something for every object of a herd, some at a time, and returns those that were acknowledged.
func (h *herd) each(do func(ctx context.Context, name string) error) map[string]bool {
	var mu sync.Mutex
	var wg sync.WaitGroup
	acknowledged := map[string]bool{}
	room := make(chan struct{}, 8)
	for i := range flock {
		wg.Add(1)
		go func() {
			defer wg.Done()
			room <- struct{}{}
			defer func() { <-room }()
			name := fmt.Sprintf("web-%d", i)
			if do(h.Context(), name) == nil {
				mu.Lock()
				defer mu.Unlock()
				acknowledged[name] = true
			}
		}()
	}
	wg.Wait()
	return acknowledged
}

// during kills the plane as soon as n changes have reached the members while something goes on, and starts it again.
func (h *herd) during(n int, work func() map[string]bool) map[string]bool {
	h.Helper()
	since := len(h.sights())
	done := make(chan map[string]bool, 1)
	go func() { done <- work() }()
	h.after(since, n)
	h.must(h.Kill())
	acknowledged := <-done
	h.Logf("killed after %d of %d acknowledged and %d changes in the members; ready again after %s",
		len(acknowledged), flock, len(h.sights())-since, h.again().Round(time.Millisecond))
	return acknowledged
}

func TestAPlaneThatIsKilledLosesNothing(t *testing.T) {
	p := newLonePlane(t, east, west, tower)
	h := p.newHerd(t, "crash-flock", "a "+east, "b "+west)
	first, masked, last := wish{1, "*", "ab"}, wish{2, "a", "ab"}, wish{3, "*", "ab"}

	t.Run("in the middle of a creation", func(t *testing.T) {
		h.T = t
		acknowledged := h.during(flock/5, func() map[string]bool {
			return h.each(func(ctx context.Context, name string) error { return h.make(ctx, name, first) })
		})
		stored := h.stored()
		for name := range acknowledged {
			if stored[name] == nil {
				t.Errorf("%s was acknowledged and is not there", name)
			}
		}
		h.settled()
		h.each(func(ctx context.Context, name string) error { return h.make(ctx, name, first) })
		h.settled()
		if n := len(h.copies("a")) + len(h.copies("b")); n != 2*flock {
			t.Errorf("%d copies, want %d", n, 2*flock)
		}
		h.quiet(2 * time.Second)
	})
	t.Run("in the middle of a release under a mask", func(t *testing.T) {
		h.T = t
		since := len(h.sights())
		h.during(flock/10, func() map[string]bool {
			return h.each(func(ctx context.Context, name string) error { return h.change(ctx, name, masked) })
		})
		h.each(func(ctx context.Context, name string) error { return h.change(ctx, name, masked) })
		h.settled()
		h.quiet(2 * time.Second)
		for _, s := range h.sights()[since:] {
			if s.unit == "b" {
				t.Errorf("unit b was written while the mask held it: %v", s)
			}
		}
		for name, version := range h.copies("b") {
			if version != first.version() {
				t.Errorf("held unit b has %s at %s, want %s", name, version, first.version())
			}
		}
	})
	t.Run("told to end in the middle of a release with a member that hangs, and ends in time", func(t *testing.T) {
		h.T = t
		h.endsInTime(p, last)
	})
	t.Run("in the middle of a deletion", func(t *testing.T) {
		h.T = t
		h.during(flock/10, func() map[string]bool {
			return h.each(func(ctx context.Context, name string) error {
				return h.objects().Delete(ctx, name, metav1.DeleteOptions{})
			})
		})
		h.unitsAreWell()
		h.each(func(ctx context.Context, name string) error {
			return h.objects().Delete(ctx, name, metav1.DeleteOptions{})
		})
		h.eventually(func() error {
			if n := len(h.stored()); n > 0 {
				return fmt.Errorf("%d objects are still there", n)
			}
			return nil
		})
		h.settled() // no copy without an object
		h.quiet(time.Second)
	})
	h.T = t
	h.nothingForbidden()
	t.Run("at any moment", func(t *testing.T) {
		p.newHerd(t, "crash-random", "a "+east, "b "+west).killedAtRandom()
	})
	t.Run("a member that dies is noticed under default settings", func(t *testing.T) {
		own := *p
		own.T = t
		own.noticesMembers()
	})
}

// endsInTime stops the plane while writes to a member that hangs are under way.
func (h *herd) endsInTime(p *lonePlane, w wish) {
	h.Helper()
	hung := p.newHerd(h.T, "crash-hung", "c "+tower)
	h.must(hung.make(h.Context(), "web", wish{1, "*", "c"}))
	hung.settled()
	frozen := world.members.Named(tower)
	frozen.Pause(h.T)
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			if err := frozen.Do(context.WithoutCancel(h.Context()), playground.ActionResume); err != nil {
				h.Error(err)
			}
		}
	}
	defer thaw()
	h.must(hung.change(h.Context(), "web", wish{2, "*", "c"}))
	since := len(h.sights())
	done := make(chan map[string]bool, 1)
	go func() {
		done <- h.each(func(ctx context.Context, name string) error { return h.change(ctx, name, w) })
	}()
	h.after(since, 5)
	took, code, err := h.Stop()
	h.must(err)
	acknowledged := <-done
	if took > 5*time.Second || code != 0 {
		h.Errorf("the plane ended after %s with exit code %d, want no more than 5s and 0", took, code)
	}
	h.Logf("ended after %s with %d of %d acknowledged", took.Round(time.Millisecond), len(acknowledged), flock)
	thaw()
	h.again()
	hung.connect()
	for name, u := range h.stored() {
		if version := u.Object["spec"].(map[string]any)["template"].(map[string]any)["data"].(map[string]any)["version"]; acknowledged[name] && version != w.version() {
			h.Errorf("%s was acknowledged at %s and is at %v", name, w.version(), version)
		}
	}
	h.settled()
	hung.settled()
	h.must(hung.objects().Delete(h.Context(), "web", metav1.DeleteOptions{}))
}

// killedAtRandom kills the plane ten times at random moments, also while it starts, under a random load.
func (h *herd) killedAtRandom() {
	h.Helper()
	seed := uint64(time.Now().UnixNano())
	h.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	ctx, stop := context.WithCancel(h.Context())
	load := make(chan int, 1)
	client := h.client // serves every life of the plane: address and credentials stay
	go func() { load <- h.load(ctx, rand.New(rand.NewPCG(seed, 1))) }()
	for range 10 {
		time.Sleep(time.Duration(chance.IntN(1000)) * time.Millisecond)
		h.must(h.Kill())
		for h.PID() == 0 {
			life, cancel := context.WithTimeout(h.Context(), time.Duration(500+chance.IntN(5000))*time.Millisecond)
			if err := h.Start(life); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				h.Error(err)
			}
			cancel()
		}
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	h.client = client
	acknowledged := <-load
	h.Logf("%d changes were acknowledged over 10 kills", acknowledged)
	if acknowledged < 20 {
		h.Errorf("only %d changes were acknowledged: that tested nothing", acknowledged)
	}
	h.unitsAreWell()
	h.settled()
	h.nothingForbidden()
	h.quiet(2 * time.Second)
	for name := range h.stored() {
		h.must(h.objects().Delete(h.Context(), name, metav1.DeleteOptions{}))
	}
	h.gone()
	for unit := range h.units {
		if left := h.copies(unit); len(left) > 0 {
			h.Errorf("unit %s still has %v", unit, left)
		}
	}
}

// load makes, changes and deletes objects until ctx ends, and tells how often that was acknowledged.
func (h *herd) load(ctx context.Context, chance *rand.Rand) int {
	pick := func(of ...string) string { return of[chance.IntN(len(of))] }
	acknowledged := 0
	for n := 1; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("web-%d", chance.IntN(12))
		w := wish{n, pick("*", "a", "b", "ab", ""), pick("ab", "ab", "a", "b")}
		// A plane that starts tells clients to come back after 5 s, and client-go would wait.
		call, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		var err error
		if chance.IntN(6) == 0 {
			err = h.objects().Delete(call, name, metav1.DeleteOptions{})
		} else if err = h.change(call, name, w); apierrors.IsNotFound(err) {
			err = h.make(call, name, w)
		}
		cancel()
		if err == nil {
			acknowledged++
		}
		time.Sleep(time.Duration(chance.IntN(20)) * time.Millisecond)
	}
	return acknowledged
}

// noticesMembers measures how long a plane with default settings takes to notice that a member is gone, and that it is
// back. Its broken watches tell before the next probe, which comes every 10 s.
func (p *lonePlane) noticesMembers() {
	p.Helper()
	lost := world.members.Named(tower)
	back := func(action playground.Action) {
		if err := lost.Do(context.WithoutCancel(p.Context()), action); err != nil {
			p.Error(err)
		}
	}
	lost.Stop(p.T)
	noticed := p.awaitMember(tower, "False")
	back(playground.ActionStart)
	returned := p.awaitMember(tower, "True")
	p.Logf("killed: noticed after %s; back %s after it was ready", noticed.Round(10*time.Millisecond), returned.Round(10*time.Millisecond))
	if noticed > 9*time.Second || returned > 5*time.Second {
		p.Errorf("a killed member was noticed after %s and its return after %s, want no more than 9s and 5s", noticed, returned)
	}
}
