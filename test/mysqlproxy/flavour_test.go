package mysqlproxy

import (
	"bufio"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
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
	s := newStage(t, Options{})
	s.Pretend(MySQL84)
	s.through.SetMaxOpenConns(1)
	_, err := s.through.ExecContext(t.Context(), "SET SESSION transaction_isolation = 'READ-COMMITTED'")
	must(t, err)
	got := ""
	must(t, s.through.QueryRowContext(t.Context(), "SELECT @@transaction_isolation").Scan(&got))
	if got != "READ-COMMITTED" {
		t.Errorf("got %s", got)
	}
	if _, err := s.through.ExecContext(t.Context(), "SET tx_isolation = 'READ-COMMITTED'"); code(err) != 1193 {
		t.Errorf("got %v", err)
	}
}

func TestTheFirstPacketHasTheFlavoursVersionWhateverItsLength(t *testing.T) {
	for _, version := range []string{"8", "8.4.6", strings.Repeat("8.4.6-", 20)} {
		s := newStage(t, Options{})
		s.Pretend(Flavour{Greeting: version})
		must(t, s.through.PingContext(t.Context()))
		seen := greetingOf(t, s.Address())
		if seen != version {
			t.Errorf("got %q, want %q", seen, version)
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
	must(t, s.through.PingContext(t.Context()))
	if got := version(); got != "8.4.6" {
		t.Errorf("a new connection goes to %s", got)
	}
}

// greetingOf is the version that a server says first.
func greetingOf(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	must(t, err)
	defer func() { _ = conn.Close() }()
	p, err := readPacket(bufio.NewReader(conn))
	must(t, err)
	d := decoder{rest: p.payload[1:]}
	return string(d.zero())
}
