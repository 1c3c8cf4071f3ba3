package mysqlproxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Rule says which statements meet which fault. The zero value of everything but Fault is every statement executed.
type Rule struct {
	Phase Phase
	// Match chooses statements; nil all of them.
	Match func(Statement) bool
	// Every n-th statement that matches; 0 and 1 each.
	Every int
	// Probability that it meets the fault, by the proxy's seed; 0 is certainty.
	Probability float64
	// Times that the fault happens at most; 0 has no bound.
	Times int
	Fault Fault
}

// Fault is what happens to a statement. See the functions that make one.
type Fault struct {
	name  string
	cut   cut
	at    int
	fail  *Error
	reply *Result
	// before and after hold the statement and its answer.
	before, after func(context.Context) error
}

func (f Fault) String() string { return f.name }

// cut is where a connection is cut.
type cut int

const (
	nowhere cut = iota
	beforeForwarding
	inRequest
	beforeAnswer
	atRow
	atByte
)

// CutBeforeForwarding cuts the connection before the server sees the statement.
func CutBeforeForwarding() Fault {
	return Fault{name: "cut before forwarding", cut: beforeForwarding}
}

// CutInRequest cuts the connection when the server has seen n bytes of the statement.
func CutInRequest(n int) Fault {
	return Fault{name: fmt.Sprintf("cut after byte %d of the request", n), cut: inRequest, at: n}
}

// CutBeforeAnswer cuts the connection when the server has done what was asked and the client knows nothing of it.
func CutBeforeAnswer() Fault { return Fault{name: "cut before the answer", cut: beforeAnswer} }

// CutAfterRow cuts the connection after n rows of a result, also when there are no more: its end is lost then. An answer
// with fewer rows, or without any result, passes.
func CutAfterRow(n int) Fault {
	return Fault{name: fmt.Sprintf("cut after row %d", n), cut: atRow, at: n}
}

// CutAfterByte cuts the connection after n bytes of the answer. A shorter one passes.
func CutAfterByte(n int) Fault {
	return Fault{name: fmt.Sprintf("cut after byte %d", n), cut: atByte, at: n}
}

// Hold keeps the statement for a while and forwards it then, even if the client has gone: that is what a network does.
func Hold(d time.Duration) Fault {
	return Fault{name: "hold for " + d.String(), before: pause(d)}
}

// HoldUntil is Hold until a channel is closed.
func HoldUntil(released <-chan struct{}) Fault {
	return Fault{name: "hold", before: await(released)}
}

// HoldAnswer forwards the statement and keeps its answer for a while.
func HoldAnswer(d time.Duration) Fault {
	return Fault{name: "hold the answer for " + d.String(), after: pause(d)}
}

// HoldAnswerUntil is HoldAnswer until a channel is closed.
func HoldAnswerUntil(released <-chan struct{}) Fault {
	return Fault{name: "hold the answer", after: await(released)}
}

// Fail answers with an error that the server knows nothing of. After a deadlock (1213) its transaction is rolled back,
// as the server would have done.
func Fail(e Error) Fault {
	return Fault{name: fmt.Sprintf("error %d", e.Code), fail: &e}
}

// Reply answers with a result, or with success if it is nil, that the server knows nothing of.
func Reply(r *Result) Fault {
	if r == nil {
		r = &Result{}
	}
	return Fault{name: "reply", reply: r}
}

// Result is a result of text columns. Without columns it is mere success.
type Result struct {
	Columns []string
	Rows    [][]string
}

// Errors that servers answer, for Fail and ReadOnly.
var (
	ErrTooManyConnections  = Error{1040, "08004", "Too many connections"}
	ErrRecordChanged       = Error{1020, "HY000", "Record has changed since last read in table 'kine'"}
	ErrTableFull           = Error{1114, "HY000", "The table 'kine' is full"}
	ErrLockWait            = Error{1205, "HY000", "Lock wait timeout exceeded; try restarting transaction"}
	ErrDeadlock            = Error{1213, "40001", "Deadlock found when trying to get lock; try restarting transaction"}
	ErrReadOnly            = Error{1290, "HY000", "The MariaDB server is running with the --read-only option so it cannot execute this statement"}
	ErrWrongValue          = Error{1366, "22007", "Incorrect string value for column 'name'"}
	ErrReadOnlyTransaction = Error{1792, "25006", "Cannot execute statement in a READ ONLY transaction"}
)

func pause(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func await(released <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Active is a rule in force.
type Active struct {
	rule  Rule
	proxy *Proxy
	fired atomic.Int64
	first chan struct{}
	once  sync.Once

	// Under the proxy's lock.
	random  *rand.Rand
	matched int
	spent   int
}

// Fired is how many faults happened.
func (a *Active) Fired() int { return int(a.fired.Load()) }

// First is closed when the first fault happens, or begins to.
func (a *Active) First() <-chan struct{} { return a.first }

// Remove ends the rule. What it holds stays held as long as it was told.
func (a *Active) Remove() { a.proxy.remove(a) }

// choose tells whether a statement meets the fault. The caller holds the proxy's lock.
func (a *Active) choose(s Statement) bool {
	r := a.rule
	if r.Phase != s.Phase || r.Match != nil && !r.Match(s) {
		return false
	}
	a.matched++
	switch {
	case r.Times > 0 && a.spent >= r.Times,
		r.Every > 1 && a.matched%r.Every != 0,
		r.Probability > 0 && a.random.Float64() >= r.Probability:
		return false
	}
	a.spent++
	return true
}

// happened counts a fault. A nil rule is a mode of the proxy, which is not counted.
func (a *Active) happened() {
	if a != nil {
		a.fired.Add(1)
		a.once.Do(func() { close(a.first) })
	}
}

// passed gives a fault back that was chosen and could not happen.
func (a *Active) passed() {
	if a != nil {
		a.proxy.mu.Lock()
		defer a.proxy.mu.Unlock()
		a.spent--
	}
}
