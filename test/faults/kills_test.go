package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const killsOfALife = 40

func TestAPlaneThatIsKilledHasWhatItAcknowledged(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *rand.Rand) *stage{
		"MariaDB": func(t *testing.T, chance *rand.Rand) *stage { return onMariaDB(t, 1, chance) },
		"SQLite":  func(t *testing.T, _ *rand.Rand) *stage { return onSQLite(t) },
	} {
		t.Run(name, func(t *testing.T) {
			first := chosenSeed(t)
			kills, starting, acks := 0, 0, 0
			for life := uint64(0); kills < *killsWanted; life++ {
				done := t.Run(fmt.Sprintf("kills %d and after", kills), func(t *testing.T) {
					chance := rand.New(rand.NewPCG(first+life, 2))
					s := start(t, chance)
					c := s.work(first+life, 12)
					k, k0 := c.killed(min(*killsWanted-kills, killsOfALife), chance)
					c.verdict()
					kills, starting, acks = kills+k, starting+k0, acks+int(c.acks.Load())
				})
				if !done {
					t.Logf("again: -seed %d", first+life)
					return
				}
			}
			t.Logf("%d kills, %d of them while it started; %d acknowledged writes", kills, starting, acks)
		})
	}
}

// killed kills the plane so often: soon after it has acknowledged something again, and now and then while it starts.
func (c *crowd) killed(wanted int, chance *rand.Rand) (kills, starting int) {
	for began := time.Now(); kills < wanted && time.Since(began) < lifeTime && !c.Failed(); {
		enough := c.acks.Load() + 5 + chance.Int64N(10)
		c.until("writes are acknowledged", func() bool { return c.acks.Load() >= enough })
		time.Sleep(time.Duration(chance.IntN(500)) * time.Millisecond)
		if err := c.kill(0); err != nil {
			c.Fatal(err)
		}
		kills++
		patience := time.Duration(0)
		if chance.IntN(5) == 0 {
			patience = time.Duration(100+chance.IntN(1500)) * time.Millisecond
		}
		again, err := c.revive(0, patience)
		if again {
			kills, starting = kills+1, starting+1
			_, err = c.revive(0, 0)
		}
		if err != nil {
			c.Fatal(err)
		}
	}
	return kills, starting
}
