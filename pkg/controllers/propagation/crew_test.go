package propagation

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestACrewGrowsAndShrinksWithWhatIsWanted(t *testing.T) {
	var wanted, inside, most atomic.Int64
	keys := make(chan bool)
	c := &crew{wanted: func() int { return int(wanted.Load()) }}
	wanted.Store(2)
	c.start(func() bool {
		more := <-keys
		n := inside.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		inside.Add(-1)
		return more
	})
	busiest := func() int64 {
		most.Store(0)
		for range 30 {
			keys <- true
		}
		return most.Load()
	}
	busiest() // lets those leave that are too many
	if n := busiest(); n != 2 {
		t.Errorf("%d work at the same time, want 2", n)
	}
	wanted.Store(6)
	c.fill()
	busiest()
	if n := busiest(); n != 6 {
		t.Errorf("%d work at the same time, want 6", n)
	}
	wanted.Store(1)
	c.fill()
	busiest()
	if n := busiest(); n != 1 {
		t.Errorf("%d work at the same time, want 1", n)
	}
	close(keys)
	c.end()
	if inside.Load() != 0 {
		t.Error("it ended before its workers")
	}
}

func TestACrewThatHasEndedTakesNobodyIn(t *testing.T) {
	var ran atomic.Int64
	c := &crew{wanted: func() int { return 3 }}
	c.fill() // has not begun
	c.start(func() bool { ran.Add(1); return false })
	c.end()
	before := ran.Load()
	c.fill()
	c.end()
	if before != 3 || ran.Load() != before {
		t.Errorf("%d worked, then %d", before, ran.Load())
	}
}
