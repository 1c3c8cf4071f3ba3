package faults

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/mysqlproxy"
)

// A life is shorter than the time after which an API server first forgets something.
const (
	faultsOfALife = 400
	lifeTime      = 3 * time.Minute
)

// randomFault is one of all ways to spoil one statement, and how long the rule stays if it spoils more.
func randomFault(r *rand.Rand) (what string, rule mysqlproxy.Rule, stays time.Duration) {
	rule = mysqlproxy.Rule{Times: 1}
	statements := []struct {
		name  string
		match func(mysqlproxy.Statement) bool
	}{
		{"BEGIN", mysqlproxy.OfKind("START")}, {"COMMIT", mysqlproxy.OfKind("COMMIT")}, {"COMMIT", mysqlproxy.OfKind("COMMIT")},
		{"INSERT", mysqlproxy.OfKind("INSERT")}, {"UPDATE", mysqlproxy.OfKind("UPDATE")}, {"SELECT", mysqlproxy.OfKind("SELECT")},
		{"the newest of a name", mysqlproxy.Contains("ORDER BY revision DESC LIMIT 1")}, {"ROLLBACK", mysqlproxy.OfKind("ROLLBACK")},
		{"a list", mysqlproxy.Contains("ORDER BY e.name LIMIT")}, {"history", mysqlproxy.Contains("FORCE INDEX")},
		{"the head", mysqlproxy.Both(mysqlproxy.OfKind("SELECT"), mysqlproxy.Contains("FROM head"))}, {"any", nil},
	}
	target := statements[r.IntN(len(statements))]
	rule.Match = target.match
	errs := []mysqlproxy.Error{mysqlproxy.ErrDeadlock, mysqlproxy.ErrLockWait, mysqlproxy.ErrReadOnly, mysqlproxy.ErrTableFull,
		mysqlproxy.ErrRecordChanged, mysqlproxy.ErrWrongValue, mysqlproxy.ErrTooManyConnections}
	switch r.IntN(10) {
	case 0:
		rule.Fault = mysqlproxy.CutBeforeForwarding()
	case 1, 2:
		rule.Fault = mysqlproxy.CutBeforeAnswer()
	case 3, 4:
		rule.Fault = mysqlproxy.CutAfterRow(r.IntN(60))
	case 5:
		rule.Fault = mysqlproxy.CutAfterByte(r.IntN(20000))
	case 6:
		rule.Fault = mysqlproxy.Hold(time.Duration(r.IntN(400)) * time.Millisecond)
	case 7:
		rule.Fault = mysqlproxy.HoldAnswer(time.Duration(r.IntN(400)) * time.Millisecond)
	case 8:
		if r.IntN(4) == 0 { // a server that was made read-only, for a while
			return "read-only", mysqlproxy.Rule{Match: mysqlproxy.Statement.Writes, Fault: mysqlproxy.Fail(mysqlproxy.ErrReadOnly)},
				time.Duration(100+r.IntN(500)) * time.Millisecond
		}
		fallthrough
	default:
		rule.Fault = mysqlproxy.Fail(errs[r.IntN(len(errs))])
	}
	return target.name + ": " + rule.Fault.String(), rule, 0
}

// Whatever happens between the servers of a plane and their database, and whichever of them is killed: what clients were told
// fits the log.
func TestRandomFaultsLeaveAPlaneThatToldItsClientsTheTruth(t *testing.T) {
	t.Logf("%d faults", *faultsWanted)
	first := chosenSeed(t)
	hit, kills := 0, 0
	for life := uint64(0); hit < *faultsWanted; life++ {
		done := t.Run(fmt.Sprintf("faults %d and after", hit), func(t *testing.T) {
			h, k := lifeWithFaults(t, first+life, min(*faultsWanted-hit, faultsOfALife))
			hit, kills = hit+h, kills+k
		})
		if !done {
			t.Logf("again: -seed %d", first+life)
			return
		}
	}
	t.Logf("%d faults, %d kills", hit, kills)
}

func lifeWithFaults(t *testing.T, seed uint64, wanted int) (hit, kills int) {
	chance := rand.New(rand.NewPCG(seed, 1))
	s := onMariaDB(t, 2, chance)
	c := s.work(seed, 6)
	var down [2]atomic.Bool
	var reviving sync.WaitGroup
	for began := time.Now(); hit < wanted && time.Since(began) < lifeTime && !t.Failed(); {
		n := chance.IntN(2)
		if kills == 0 && hit > wanted/3 || chance.IntN(80) == 0 { // at least once
			if down[n].CompareAndSwap(false, true) {
				if err := s.kill(n); err != nil {
					t.Fatal(err)
				}
				kills++
				reviving.Go(func() {
					defer down[n].Store(false)
					if _, err := s.revive(n, 0); err != nil {
						t.Error(err)
					}
				})
			}
		}
		if s.spoil(n, chance) {
			hit++
		}
	}
	reviving.Wait()
	c.verdict()
	t.Logf("%d faults, %d kills", hit, kills)
	return hit, kills
}

// spoil has a fault at random happen to a server, and tells whether it hit a statement.
func (s *stage) spoil(n int, chance *rand.Rand) bool {
	p := s.proxies[n]
	if chance.IntN(25) == 0 {
		before := p.Open()
		p.CutAll()
		return before > 0
	}
	_, rule, stays := randomFault(chance)
	active := p.Add(rule)
	defer active.Remove()
	time.Sleep(stays)
	hit := true
	select {
	case <-active.First():
	case <-time.After(200 * time.Millisecond): // nobody says that now
		hit = false
	}
	time.Sleep(time.Duration(chance.IntN(15)) * time.Millisecond)
	return hit
}
