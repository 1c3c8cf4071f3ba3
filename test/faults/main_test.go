package faults

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness/database"
)

var (
	faultsWanted = flag.Int("faults", 80, "how many random faults hit a plane of two servers on MariaDB")
	killsWanted  = flag.Int("kills", 4, "how often a plane on each database is killed")
	seed         = flag.Uint64("seed", 0, "what chance begins with; 0 = a new one, which is told")
)

func TestMain(m *testing.M) { os.Exit(database.Main(m)) }

// chosenSeed is the run's seed, which is told so that the run can be told again.
func chosenSeed(t *testing.T) uint64 {
	chosen := *seed
	if chosen == 0 {
		chosen = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", chosen)
	return chosen
}
