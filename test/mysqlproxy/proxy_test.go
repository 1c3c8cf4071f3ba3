package mysqlproxy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/cellfed/cellfed/test/harness/database"
)

func TestMain(m *testing.M) { os.Exit(database.Main(m)) }

// stage is a proxy before a database of the test's own.
type stage struct {
	*Proxy
	// through goes through the proxy, direct does not.
	through, direct *sql.DB
	config          *mysql.Config
}

func newStage(t *testing.T, options Options) *stage {
	t.Helper()
	m := database.SharedMariaDB(t)
	options.Address = m.Address()
	s := &stage{Proxy: Run(t, options), config: m.Config(m.Database(t))}
	s.config.Logger = &mysql.NopLogger{}
	s.config.MultiStatements = true
	s.direct = open(t, s.config)
	s.config = s.config.Clone()
	s.config.Addr = s.Address()
	s.through = open(t, s.config)
	s.exec(t, "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(100))")
	s.exec(t, "INSERT INTO a SELECT seq, CONCAT('value ', seq) FROM seq_1_to_10")
	return s
}

func open(t *testing.T, config *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(config)
	must(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exec runs something beside the proxy.
func (s *stage) exec(t *testing.T, statement string) {
	t.Helper()
	_, err := s.direct.ExecContext(t.Context(), statement)
	must(t, err)
}

// has tells whether a row is in the database, whatever the proxy does.
func (s *stage) has(t *testing.T, id int) bool {
	t.Helper()
	n := 0
	must(t, s.direct.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM a WHERE id=?", id).Scan(&n))
	return n == 1
}

// list reads all ids, with a prepared statement or without.
func list(ctx context.Context, db *sql.DB, prepared bool) ([]int, error) {
	query, args := "SELECT id, v FROM a ORDER BY id", []any(nil)
	if prepared {
		query, args = "SELECT id, v FROM a WHERE id > ? ORDER BY id", []any{0}
	}
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []int
	for rows.Next() {
		id, v := 0, ""
		if err := rows.Scan(&id, &v); err != nil {
			return out, err
		}
		if v != fmt.Sprintf("value %d", id) {
			return out, fmt.Errorf("row %d is %q", id, v)
		}
		out = append(out, id)
	}
	return out, rows.Err()
}

func code(err error) int {
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		return int(refused.Number)
	}
	return 0
}

var all = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}

// eachForm runs a test with texts and with prepared statements, with results that end in the old way and in the new one.
func eachForm(t *testing.T, test func(t *testing.T, s *stage, prepared bool)) {
	for name, oldEOF := range map[string]bool{"new end": false, "old end": true} {
		for form, prepared := range map[string]bool{"text": false, "prepared": true} {
			t.Run(form+" with the "+name, func(t *testing.T) { test(t, newStage(t, Options{OldEOF: oldEOF}), prepared) })
		}
	}
}

func TestWithoutRulesTheProxyIsNotSeen(t *testing.T) {
	queries := []struct {
		text string
		args []any
	}{
		{"SELECT NULL, '', 'x', 1, -1, 1.5, 2e10, CAST(18446744073709551615 AS UNSIGNED)", nil},
		{"SELECT ?, ?, ?, ?, ?", []any{nil, "", []byte{0, 1, 255}, -7, 1.25}},
		{"SELECT NOW(6) > ?, DATE '2026-01-02', TIME '-100:00:01.5', TIMESTAMP '2026-01-02 03:04:05.678901' WHERE 1 = ?", []any{time.Unix(0, 0), 1}},
		{"SELECT id, v FROM a WHERE id > ? ORDER BY id", []any{3}},
		{"SELECT * FROM numbers WHERE t <> ?", []any{0}},
		{"SELECT id FROM a WHERE id > 100", nil},
		{"SELECT id FROM a WHERE id > ?", []any{100}},
		{"SELECT 1; SELECT id FROM a; SELECT 'x', 'y'", nil},
		{"SELECT no_such_column FROM a", nil},
		{"this is not SQL", nil},
		{"SELECT REPEAT('x', 300), REPEAT('y', 70000), REPEAT(?, 251)", []any{"z"}},
	}
	for name, oldEOF := range map[string]bool{"new end": false, "old end": true} {
		s := newStage(t, Options{OldEOF: oldEOF})
		s.exec(t, "CREATE TABLE numbers (t TINYINT, s SMALLINT, m MEDIUMINT, i INT, b BIGINT, u TINYINT UNSIGNED, f FLOAT, d DOUBLE, n DECIMAL(9,2), y YEAR)")
		s.exec(t, "INSERT INTO numbers VALUES (-1, -2, -3, -4, -5, 255, -1.5, -2.25, -3.75, 2026), (1, NULL, 3, 4, 5, 0, 0.1, 0.2, 0.3, NULL)")
		// Rewriting that changes nothing takes every row apart and puts it together again.
		s.Rewrite(nil, func(Statement, []string, [][]byte) bool { return true })
		for _, q := range queries {
			t.Run(name+": "+q.text, func(t *testing.T) {
				want, wantErr := everything(t, s.direct, q.text, q.args)
				got, err := everything(t, s.through, q.text, q.args)
				if code(err) != code(wantErr) || (err == nil) != (wantErr == nil) {
					t.Fatalf("got %v, want %v", err, wantErr)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	}
}

// everything is all values of all results of a query.
func everything(t *testing.T, db *sql.DB, query string, args []any) ([]any, error) {
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []any
	for {
		columns, err := rows.Columns()
		must(t, err)
		out = append(out, columns)
		for rows.Next() {
			values := make([]any, len(columns))
			targets := make([]any, len(columns))
			for i := range values {
				targets[i] = &values[i]
			}
			if err := rows.Scan(targets...); err != nil {
				return out, err
			}
			out = append(out, values)
		}
		if !rows.NextResultSet() {
			return out, rows.Err()
		}
	}
}

func TestPacketsOfManyFramesPassWhole(t *testing.T) {
	s := newStage(t, Options{})
	must(t, database.SharedMariaDB(t).Exec(t.Context(), "SET GLOBAL max_allowed_packet=64<<20"))
	for name, length := range map[string]int{
		"a request that fills its frame, so that an empty one follows": maxFrame - len("?SELECT ''"),
		"a row that fills its frame":                                   maxFrame - len("????"),
		"a row of two frames":                                          maxFrame,
	} {
		t.Run(name, func(t *testing.T) {
			want := strings.Repeat("x", length-1) + "y"
			got := ""
			must(t, s.through.QueryRowContext(t.Context(), "SELECT '"+want+"'").Scan(&got))
			if got != want {
				t.Errorf("%d bytes came as %d", length, len(got))
			}
			must(t, s.through.QueryRowContext(t.Context(), "SELECT ?", want).Scan(&got))
			if got != want {
				t.Errorf("prepared: %d bytes came as %d", length, len(got))
			}
		})
	}
}

func TestStatementsAreCountedByKind(t *testing.T) {
	s := newStage(t, Options{})
	ctx := t.Context()
	for _, text := range []string{"SELECT 1", " /* note */ (select 2)", "-- note\nINSERT INTO a VALUES (20, '')", "SET @x=1", "START TRANSACTION", "COMMIT"} {
		_, err := s.through.ExecContext(ctx, text)
		must(t, err)
	}
	_, err := s.through.ExecContext(ctx, "DELETE FROM a WHERE id=?", 20)
	must(t, err)
	s.Add(Rule{Match: OfKind("update"), Fault: Fail(ErrLockWait)})
	if _, err := s.through.ExecContext(ctx, "UPDATE a SET v=''"); code(err) != 1205 {
		t.Errorf("got %v", err)
	}
	counts := s.Counts()
	delete(counts, "SET")
	want := map[string]int{"SELECT": 2, "INSERT": 1, "START": 1, "COMMIT": 1, "DELETE": 1, "UPDATE": 1}
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
	if s.Prepares() != 1 || s.Connections() != 1 || s.Open() != 1 || s.Count("UPDATE") != 1 {
		t.Errorf("%d prepares, %d connections, %d open", s.Prepares(), s.Connections(), s.Open())
	}
	if got := s.Statements(); got != 7+s.Count("SET") {
		t.Errorf("%d statements in all, of %v", got, s.Counts())
	}
}

func TestTheLogHasALineForEachStatementAndItsFault(t *testing.T) {
	log := &strings.Builder{}
	s := newStage(t, Options{Log: log})
	s.Add(Rule{Match: Contains("marked"), Fault: Fail(ErrTableFull)})
	if _, err := s.through.ExecContext(t.Context(), "INSERT INTO a VALUES (?,\n 'marked')", 30); code(err) != 1114 {
		t.Errorf("got %v", err)
	}
	must(t, s.Close())
	for _, want := range []string{`1 connect ""`, `1 prepare "INSERT INTO a VALUES (?, 'marked')"`, `1 execute "INSERT INTO a VALUES (?, 'marked')" error 1114`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
}

func TestAClientThatKnowsTheServerIsGoneFindsANewConnection(t *testing.T) {
	m := database.RunMariaDB(t, database.MariaDBOptions{})
	p := Run(t, Options{Address: m.Address()})
	config := m.Config("")
	config.Addr = p.Address()
	db := open(t, config)
	for _, end := range []func() error{m.Stop, m.Kill} {
		must(t, db.PingContext(t.Context()))
		must(t, end())
		for deadline := time.Now().Add(5 * time.Second); p.Open() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the proxy holds a connection to a server that is gone")
			}
		}
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("a server that is gone answers")
		}
		must(t, m.Start(t.Context()))
		// Not even the first statement fails: the driver saw the end of its connection.
		_, err := db.ExecContext(t.Context(), "DO 1")
		must(t, err)
	}
}
