package mysqlproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAFlavourAnswersLikeTheOtherProduct(t *testing.T) {
	for name, tt := range map[string]struct {
		flavour Flavour
		answers map[string]string
		unknown []string
	}{
		"MySQL": {MySQL84, map[string]string{
			"SELECT VERSION()": "8.4.6", "SELECT @@version": "8.4.6", "SELECT @@version_comment": "MySQL Community Server - GPL",
			"SELECT @@GLOBAL.transaction_isolation":                               "REPEATABLE-READ",
			"SHOW VARIABLES LIKE 'version_comment'":                               "MySQL Community Server - GPL",
			"SHOW GLOBAL VARIABLES WHERE Variable_name = 'transaction_isolation'": "REPEATABLE-READ",
			"SHOW VARIABLES LIKE 'auto_increment_increment'":                      "1",
			"SELECT @@auto_increment_increment":                                   "1",
		}, []string{"tx_isolation", "wsrep_on"}},
		"OceanBase": {OceanBase43.With(map[string]string{"auto_increment_cache_size": "7"}), map[string]string{
			"SELECT VERSION()": "5.7.25-OceanBase_CE-v4.3.5.1", "SELECT OB_VERSION()": "4.3.5.1",
			"SHOW VARIABLES LIKE 'ob_query_timeout'":          "10000000",
			"SHOW VARIABLES LIKE 'auto_increment_cache_size'": "7",
		}, []string{"innodb_flush_log_at_trx_commit"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, Options{})
			s.Pretend(tt.flavour)
			for query, want := range tt.answers {
				got := ""
				targets := []any{&got}
				if strings.HasPrefix(query, "SHOW") {
					targets = []any{new(string), &got}
				}
				must(t, s.through.QueryRowContext(t.Context(), query).Scan(targets...))
				if got != want {
					t.Errorf("%s: got %q, want %q", query, got, want)
				}
			}
			value := ""
			must(t, s.through.QueryRowContext(t.Context(), "SHOW VARIABLES WHERE Variable_name = ?", "version").Scan(new(string), &value))
			if want := tt.answers["SELECT VERSION()"]; value != want {
				t.Errorf("prepared: got %q, want %q", value, want)
			}
			for _, variable := range tt.unknown {
				if err := s.through.QueryRowContext(t.Context(), "SELECT @@"+variable).Scan(&value); code(err) != 1193 {
					t.Errorf("%s: got %v", variable, err)
				}
				rows, err := everything(t, s.through, "SHOW VARIABLES LIKE '"+variable+"'", nil)
				if err != nil || len(rows) != 1 {
					t.Errorf("%s: got %v, %v", variable, rows, err)
				}
			}
		})
	}
}

func TestVariablesAreSetByTheOtherProductsNames(t *testing.T) {
	for name, tt := range map[string]struct {
		flavour                  Flavour
		set, variable, want, bad string
	}{
		"one that MariaDB calls otherwise": {MySQL84, "SET SESSION transaction_isolation = 'READ-COMMITTED'", "transaction_isolation", "READ-COMMITTED",
			"SET tx_isolation = 'READ-COMMITTED'"},
		"one that MariaDB does not have": {OceanBase43, "SET SESSION ob_trx_lock_timeout = 5", "ob_trx_lock_timeout", "5",
			"SET wsrep_on = 0"},
		"one among others": {OceanBase43, "SET SESSION sql_mode = 'ANSI', ob_query_timeout=7, wait_timeout = 9", "ob_query_timeout", "7",
			"SET SESSION ob_query_timeout = 1, innodb_flush_log_at_trx_commit = 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, Options{})
			s.Pretend(tt.flavour)
			s.through.SetMaxOpenConns(1)
			_, err := s.through.ExecContext(t.Context(), tt.set)
			must(t, err)
			if _, err := s.through.ExecContext(t.Context(), tt.bad); code(err) != 1193 {
				t.Errorf("%s: got %v", tt.bad, err)
			}
			got := ""
			must(t, s.through.QueryRowContext(t.Context(), "SELECT @@"+tt.variable).Scan(&got))
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			must(t, s.through.QueryRowContext(t.Context(), "SHOW VARIABLES LIKE '"+tt.variable+"'").Scan(new(string), &got))
			if got != tt.want {
				t.Errorf("shown: got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTheFirstPacketHasTheFlavoursVersionAndOnlyWhatTheProxyUnderstands(t *testing.T) {
	for _, oldEOF := range []bool{false, true} {
		for _, version := range []string{"8", "8.4.6", strings.Repeat("8.4.6-", 20)} {
			s := newStage(t, Options{OldEOF: oldEOF})
			s.Pretend(Flavour{Greeting: version})
			must(t, s.through.PingContext(t.Context()))
			greeting, err := readPacket(bufio.NewReader(bytes.NewReader(received(t, s.Proxy, 1<<10))))
			must(t, err)
			d := decoder{rest: greeting.payload[1:]}
			if seen := string(d.zero()); seen != version {
				t.Errorf("got %q, want %q", seen, version)
			}
			d.take(4 + 8 + 1)
			capabilities := d.number(2)
			d.take(1 + 2)
			capabilities |= d.number(2) << 16
			d.take(1 + 6)
			if capabilities&notUnderstood != 0 || capabilities&capDeprecateEOF == 0 != oldEOF || d.number(4) != 0 || d.err != nil {
				t.Errorf("capabilities %x with old ends %v", capabilities, oldEOF)
			}
		}
	}
}

// received are the bytes that the proxy says to a new client before it is cut, or falls silent.
func received(t *testing.T, p *Proxy, most int) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
	out, err := io.ReadAll(io.LimitReader(conn, int64(most)))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return out
}

func TestACutAfterAByteLetsThatManyThrough(t *testing.T) {
	s := newStage(t, Options{})
	for _, n := range []int{0, 1, 4, 5, 60} {
		s.Add(Rule{Phase: Connecting, Times: 1, Fault: CutAfterByte(n)})
		if got := len(received(t, s.Proxy, 1<<10)); got != n {
			t.Errorf("%d bytes came, want %d", got, n)
		}
	}
}

func TestAReplyComesFromTheProxyAlone(t *testing.T) {
	eachForm(t, func(t *testing.T, s *stage, prepared bool) {
		rule := s.Add(Rule{Match: OfKind("SELECT"), Times: 1, Fault: Reply(&Result{Columns: []string{"id", "v"}, Rows: [][]string{{"7", "value 7"}, {"9", "value 9"}}})})
		got, err := list(t.Context(), s.through, prepared)
		if err != nil || !reflect.DeepEqual(got, []int{7, 9}) || rule.Fired() != 1 {
			t.Errorf("got %v, %v", got, err)
		}
		s.Add(Rule{Match: OfKind("INSERT"), Times: 1, Fault: Reply(nil)})
		must(t, s.transact(t.Context(), 100, prepared))
		if s.has(t, 100) {
			t.Error("an INSERT that only the proxy answered is stored")
		}
		if got, err := list(t.Context(), s.through, prepared); err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("afterwards: got %v, %v", got, err)
		}
	})
}

func TestRowsAreChangedAndLeftOut(t *testing.T) {
	eachForm(t, func(t *testing.T, s *stage, prepared bool) {
		s.Rewrite(Contains("FROM a"), func(_ Statement, columns []string, values [][]byte) bool {
			if !reflect.DeepEqual(columns, []string{"id", "v"}) {
				return true
			}
			id, err := strconv.Atoi(string(values[0]))
			if err != nil || id%2 == 0 {
				return false
			}
			values[0] = strconv.AppendInt(nil, int64(id+1000), 10)
			values[1] = []byte("value " + string(values[0]))
			return true
		})
		got, err := list(t.Context(), s.through, prepared)
		if want := []int{1001, 1003, 1005, 1007, 1009}; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	})
}

func TestNewConnectionsGoWhereTheyAreRedirected(t *testing.T) {
	s, other := newStage(t, Options{}), newStage(t, Options{})
	other.Pretend(MySQL84)
	version := func() string {
		got := ""
		must(t, s.through.QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&got))
		return got
	}
	before := version()
	s.Redirect(other.Address())
	if got := version(); got != before {
		t.Errorf("the connection that was there went to %s", got)
	}
	s.CutAll()
	// The driver finds out that its connection is gone when the kernel has heard of it.
	for deadline := time.Now().Add(5 * time.Second); s.through.PingContext(t.Context()) != nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := version(); got != "8.4.6" {
		t.Errorf("a new connection goes to %s", got)
	}
}
