package mysqlproxy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"syscall"
	"testing"
	"time"
)

func TestAFaultHitsTheStatementItsRuleNamesAndLeavesWhatItSays(t *testing.T) {
	for name, tt := range map[string]struct {
		kind  string
		fault Fault
		// code is the server's error; 0 is a lost connection.
		code   int
		stored bool
	}{
		"an INSERT cut before forwarding is not stored":     {"INSERT", CutBeforeForwarding(), 0, false},
		"an INSERT cut on its way is not stored":            {"INSERT", CutInRequest(12), 0, false},
		"an INSERT cut before the answer is not stored":     {"INSERT", CutBeforeAnswer(), 0, false},
		"an INSERT whose answer is cut is not stored":       {"INSERT", CutAfterByte(5), 0, false},
		"an INSERT that fails is not stored":                {"INSERT", Fail(ErrTableFull), 1114, false},
		"a COMMIT cut before forwarding stores nothing":     {"COMMIT", CutBeforeForwarding(), 0, false},
		"a COMMIT cut before the answer stores":             {"COMMIT", CutBeforeAnswer(), 0, true},
		"a COMMIT whose answer is cut stores":               {"COMMIT", CutAfterByte(0), 0, true},
		"a COMMIT that fails stores nothing":                {"COMMIT", Fail(ErrReadOnly), 1290, false},
		"a transaction that cannot start stores nothing":    {"START", CutBeforeAnswer(), 0, false},
		"a deadlock stores nothing of what was done before": {"SELECT", Fail(ErrDeadlock), 1213, false},
	} {
		for form, prepared := range map[string]bool{"text": false, "prepared": true} {
			t.Run(name+", "+form, func(t *testing.T) {
				s := newStage(t, Options{})
				rule := s.Add(Rule{Match: OfKind(tt.kind), Times: 1, Fault: tt.fault})
				err := s.transact(t.Context(), 100, prepared)
				if err == nil || code(err) != tt.code {
					t.Errorf("got %v, want an error %d", err, tt.code)
				}
				if rule.Fired() != 1 {
					t.Errorf("the fault happened %d times", rule.Fired())
				}
				s.settled(t)
				if got := s.has(t, 100); got != tt.stored {
					t.Errorf("stored: %v, want %v", got, tt.stored)
				}
				must(t, s.transact(t.Context(), 101, prepared))
				if !s.has(t, 101) {
					t.Error("what was written after the fault is not there")
				}
			})
		}
	}
}

// transact inserts a row in a transaction that reads, too. After an error it commits what may be left: a fault that
// says it rolled back must have done so.
func (s *stage) transact(ctx context.Context, id int, prepared bool) error {
	conn, err := s.through.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	insert, args := fmt.Sprintf("INSERT INTO a VALUES (%d, '')", id), []any(nil)
	if prepared {
		insert, args = "INSERT INTO a VALUES (?, '')", []any{id}
	}
	if _, err := conn.ExecContext(ctx, "START TRANSACTION"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, insert, args...); err != nil {
		_, commitErr := conn.ExecContext(ctx, "ROLLBACK")
		_ = commitErr // the connection may be cut
		return err
	}
	if _, err := conn.ExecContext(ctx, "SELECT 1"); err != nil {
		_, commitErr := conn.ExecContext(ctx, "COMMIT")
		_ = commitErr // the connection may be cut
		return err
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		_, rollbackErr := conn.ExecContext(ctx, "ROLLBACK")
		_ = rollbackErr // the connection may be cut
		return err
	}
	return nil
}

// settled waits until the server has ended transactions of connections that were cut.
func (s *stage) settled(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		n := 0
		must(t, s.direct.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE db=DATABASE() AND id<>CONNECTION_ID()").Scan(&n))
		if n <= s.Open() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has %d connections of the test, the proxy %d", n, s.Open())
		}
	}
}

func TestAResultCutAfterARowIsAnErrorAfterThatRow(t *testing.T) {
	eachForm(t, func(t *testing.T, s *stage, prepared bool) {
		for row := range len(all) + 1 {
			rule := s.Add(Rule{Match: OfKind("SELECT"), Times: 1, Fault: CutAfterRow(row)})
			got, err := list(t.Context(), s.through, prepared)
			if err == nil || rule.Fired() != 1 {
				t.Errorf("after row %d: got %v and %d faults", row, err, rule.Fired())
			}
			if len(got) != row {
				t.Errorf("%d rows came, want %d", len(got), row)
			}
			rule.Remove()
		}
		rule := s.Add(Rule{Match: OfKind("SELECT"), Times: 1, Fault: CutAfterRow(len(all) + 1)})
		got, err := list(t.Context(), s.through, prepared)
		if err != nil || !reflect.DeepEqual(got, all) || rule.Fired() != 0 {
			t.Errorf("after a row that there is not: got %v, %v and %d faults", got, err, rule.Fired())
		}
	})
}

func TestAResultCutAtAnyByteIsAnErrorOrComplete(t *testing.T) {
	eachForm(t, func(t *testing.T, s *stage, prepared bool) {
		cuts := 0
		for at := 0; ; at++ {
			rule := s.Add(Rule{Match: OfKind("SELECT"), Times: 1, Fault: CutAfterByte(at)})
			got, err := list(t.Context(), s.through, prepared)
			rule.Remove()
			if err == nil && !reflect.DeepEqual(got, all) {
				t.Fatalf("a short list without an error at byte %d: %v", at, got)
			}
			if rule.Fired() == 0 {
				break
			}
			cuts++
		}
		if cuts < 200 {
			t.Errorf("the answer has %d bytes: is it the answer?", cuts)
		}
	})
}

func TestAConnectionCutAtAnyByteOfItsBeginningIsNoConnection(t *testing.T) {
	s := newStage(t, Options{})
	for name, fault := range map[string]func(int) Fault{"of what the server says": CutAfterByte, "of what the client says": CutInRequest} {
		t.Run(name, func(t *testing.T) {
			for at := 0; ; at++ {
				// One connection at a time, and database/sql tries again twice.
				s.through.SetMaxIdleConns(0)
				rule := s.Add(Rule{Phase: Connecting, Fault: fault(at)})
				conn, err := s.through.Conn(t.Context())
				rule.Remove()
				if err == nil {
					_ = conn.Close()
				}
				if rule.Fired() == 0 {
					must(t, err)
					if at < 50 {
						t.Errorf("the beginning has %d bytes", at)
					}
					break
				}
			}
		})
	}
	s.Add(Rule{Phase: Connecting, Times: 1, Fault: Fail(ErrTooManyConnections)})
	if err := s.through.PingContext(t.Context()); code(err) != 1040 {
		t.Errorf("got %v", err)
	}
	must(t, s.through.PingContext(t.Context()))
}

func TestACommitThatIsHeldIsDoneWhenItIsLetGoEvenWithoutItsClient(t *testing.T) {
	s := newStage(t, Options{})
	released := make(chan struct{})
	rule := s.Add(Rule{Match: OfKind("COMMIT"), Times: 1, Fault: HoldUntil(released)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.transact(ctx, 100, false) }()
	<-rule.First()
	if s.has(t, 100) {
		t.Error("a COMMIT that is held is done")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(released)
	s.settled(t)
	if !s.has(t, 100) {
		t.Error("a COMMIT that was sent is lost")
	}
}

func TestAnAnswerThatIsHeldComesAfterTheDeed(t *testing.T) {
	s := newStage(t, Options{})
	released := make(chan struct{})
	rule := s.Add(Rule{Match: OfKind("COMMIT"), Times: 1, Fault: HoldAnswerUntil(released)})
	done := make(chan error)
	go func() { done <- s.transact(t.Context(), 100, false) }()
	<-rule.First()
	for deadline := time.Now().Add(5 * time.Second); !s.has(t, 100); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the COMMIT is not done")
		}
	}
	select {
	case err := <-done:
		t.Errorf("the answer came: %v", err)
	default:
	}
	close(released)
	must(t, <-done)
	for _, fault := range []Fault{Hold(50 * time.Millisecond), HoldAnswer(50 * time.Millisecond)} {
		s.Add(Rule{Match: OfKind("COMMIT"), Times: 1, Fault: fault})
		begun := time.Now()
		must(t, s.transact(t.Context(), 200+s.Count("COMMIT"), true))
		if took := time.Since(begun); took < 50*time.Millisecond {
			t.Errorf("%s: it took %s", fault, took)
		}
	}
}

func TestAFaultWhilePreparingIsNotOneWhileExecuting(t *testing.T) {
	s := newStage(t, Options{})
	s.Add(Rule{Phase: Preparing, Match: OfKind("INSERT"), Times: 1, Fault: Fail(ErrWrongValue)})
	if err := s.transact(t.Context(), 100, false); err != nil {
		t.Errorf("text: %v", err)
	}
	if err := s.transact(t.Context(), 101, true); code(err) != 1366 {
		t.Errorf("prepared: %v", err)
	}
	cut := s.Add(Rule{Phase: Preparing, Match: OfKind("INSERT"), Times: 1, Fault: CutAfterByte(9)})
	if err := s.transact(t.Context(), 102, true); err == nil || cut.Fired() != 1 {
		t.Errorf("prepared and cut: %v", err)
	}
	must(t, s.transact(t.Context(), 103, true))
}

func TestRulesChooseByNumberAndBySeed(t *testing.T) {
	choices := func(seed uint64, rule Rule) []int {
		s := newStage(t, Options{Seed: seed})
		rule.Match, rule.Fault = Contains("SELECT 'chosen'"), Fail(ErrRecordChanged)
		s.Add(rule)
		var out []int
		for i := range 40 {
			if _, err := s.through.ExecContext(t.Context(), "SELECT 'chosen'"); code(err) == 1020 {
				out = append(out, i)
			} else {
				must(t, err)
			}
		}
		return out
	}
	if got := choices(0, Rule{Every: 10, Times: 3}); !reflect.DeepEqual(got, []int{9, 19, 29}) {
		t.Errorf("every tenth, three times: %v", got)
	}
	once := choices(1, Rule{Probability: 0.3})
	if len(once) < 4 || len(once) > 25 {
		t.Errorf("three of ten by chance: %v", once)
	}
	if again := choices(1, Rule{Probability: 0.3}); !reflect.DeepEqual(again, once) {
		t.Errorf("one seed chose %v and %v", once, again)
	}
	if other := choices(2, Rule{Probability: 0.3}); reflect.DeepEqual(other, once) {
		t.Errorf("two seeds chose %v", other)
	}
}

func TestAReadOnlyServerRefusesWhatWritesUntilItIsNot(t *testing.T) {
	s := newStage(t, Options{})
	for _, refusal := range []Error{ErrReadOnly, ErrReadOnlyTransaction} {
		s.ReadOnly(&refusal)
		for _, text := range []string{"INSERT INTO a VALUES (100, '')", "UPDATE a SET v=''", "DELETE FROM a", "CREATE TABLE b (id INT)",
			"REPLACE INTO a VALUES (1, '')", "TRUNCATE a", "SELECT id FROM a WHERE id=1 FOR UPDATE"} {
			if _, err := s.through.ExecContext(t.Context(), text); code(err) != int(refusal.Code) {
				t.Errorf("%s: got %v", text, err)
			}
		}
		if _, err := s.through.ExecContext(t.Context(), "DELETE FROM a WHERE id > ?", 0); code(err) != int(refusal.Code) {
			t.Errorf("prepared: got %v", err)
		}
		if got, err := list(t.Context(), s.through, true); err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("reading: got %v, %v", got, err)
		}
	}
	s.ReadOnly(nil)
	must(t, s.transact(t.Context(), 100, true))
}

func TestNobodyListensWhileConnectionsAreRefused(t *testing.T) {
	s := newStage(t, Options{})
	must(t, s.through.PingContext(t.Context()))
	must(t, s.RefuseConnections(true))
	must(t, s.transact(t.Context(), 100, false)) // the connection that was there
	s.CutAll()
	if s.Open() > 0 {
		t.Error("connections that were cut are there")
	}
	// The driver finds out that its connection is gone when the kernel has heard of it.
	err := s.through.PingContext(t.Context())
	for deadline := time.Now().Add(5 * time.Second); !errors.Is(err, syscall.ECONNREFUSED) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		err = s.through.PingContext(t.Context())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	must(t, s.RefuseConnections(false))
	must(t, s.RefuseConnections(false))
	must(t, s.through.PingContext(t.Context()))
}

func TestABlackHoleAnswersNothingAndThenEverything(t *testing.T) {
	s := newStage(t, Options{})
	must(t, s.through.PingContext(t.Context()))
	s.Blackhole(true)
	s.Blackhole(true)
	for range 2 { // on the connection that was there, and on a new one
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := s.transact(ctx, 100, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	done := make(chan error)
	go func() { done <- s.transact(t.Context(), 101, false) }()
	select {
	case err := <-done:
		t.Errorf("it answers: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Blackhole(false)
	must(t, <-done)
	if !s.has(t, 101) {
		t.Error("what was written is not there")
	}
}
