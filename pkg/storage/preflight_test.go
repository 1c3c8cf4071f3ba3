package storage

import (
	"fmt"
	"strings"
	"testing"

	harness "github.com/cellfed/cellfed/test/harness/database"
	"github.com/cellfed/cellfed/test/mysqlproxy"
)

func TestAServerThatCannotBeReliedOnIsRefusedInOneLine(t *testing.T) {
	pretend := func(variables map[string]string) mysqlproxy.Flavour { return mysqlproxy.MySQL84.With(variables) }
	for name, tc := range map[string]struct {
		flavour mysqlproxy.Flavour
		says    []string
	}{
		"MySQL 5.7":       {pretend(map[string]string{"version()": "'5.7.44'", "version": "'5.7.44'"}), []string{"MySQL 5.7", "8.0", "upgrade"}},
		"MariaDB 10.6":    {mysqlproxy.Flavour{Expressions: map[string]string{"version()": "'10.6.20-MariaDB'"}}, []string{"10.11", "upgrade"}},
		"OceanBase 3":     {mysqlproxy.OceanBase43.With(map[string]string{"version()": "'5.7.25-OceanBase-v3.2.4.0'"}), []string{"OceanBase 3.2", "4.0"}},
		"TiDB":            {pretend(map[string]string{"version()": "'8.0.11-TiDB-v8.5.0'"}), []string{"TiDB", "only MySQL, MariaDB and OceanBase"}},
		"read-only":       {pretend(map[string]string{"read_only": "1"}), []string{"read-only", "primary"}},
		"several writers": {pretend(map[string]string{"auto_increment_increment": "2"}), []string{"auto_increment_increment is 2", "SET GLOBAL"}},
		"STATEMENT":       {pretend(map[string]string{"log_bin": "1", "binlog_format": "'STATEMENT'"}), []string{"binlog_format", "ROW"}},
		"small packets":   {pretend(map[string]string{"max_allowed_packet": "1048576"}), []string{"max_allowed_packet is 1048576", "SET GLOBAL"}},
		"not durable":     {pretend(map[string]string{"innodb_flush_log_at_trx_commit": "2"}), []string{"innodb_flush_log_at_trx_commit is 2", "durability=relaxed"}},
		"Galera":          {mysqlproxy.Flavour{Expressions: map[string]string{"wsrep_on": "1"}}, []string{"Galera", "single primary"}},
		"another isolation": {pretend(map[string]string{"transaction_isolation": "'REPEATABLE-READ'"}),
			[]string{"REPEATABLE-READ", "proxy"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := harness.SharedMariaDB(t)
			p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address()})
			p.Pretend(tc.flavour)
			refused(t, m.URLAt(p.Address(), m.Database(t)), tc.says...)
		})
	}
}

// refused starts a storage and wants one line that says all of this.
func refused(t *testing.T, endpoint string, says ...string) {
	t.Helper()
	s, err := Start(t.Context(), Config{Endpoint: endpoint})
	if err == nil {
		shut(t, s)
		t.Fatal("it was accepted")
	}
	for _, word := range says {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("it says %q, and nothing of %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("it takes several lines: %q", err)
	}
	t.Log(err)
}

func TestServersOfOtherNamesAreTaken(t *testing.T) {
	for name, flavour := range map[string]mysqlproxy.Flavour{"MySQL 8.4": mysqlproxy.MySQL84, "OceanBase 4.3": mysqlproxy.OceanBase43} {
		t.Run(name, func(t *testing.T) {
			m := harness.SharedMariaDB(t)
			p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address()})
			p.Pretend(flavour)
			c := client(t, serve(t, m.URLAt(p.Address(), m.Database(t))))
			if got, err := create(t.Context(), c, "/r/a", "v"); err != nil || !got.Succeeded {
				t.Errorf("create: %v, %v", got, err)
			}
		})
	}
}

func TestTablesThatAreNotWholeAreFinishedOrRefused(t *testing.T) {
	const entry = "INSERT INTO entries VALUES (1, 'a', 0, 1, 0, 1, 0, 0, 1, '');"
	first := fmt.Sprintf(mysqlFirst, mysqlLayout, 1) + ";"
	for name, tc := range map[string]struct {
		statements string
		refused    string // "" = finished
	}{
		"a kill after the first table":           {mysqlEntries, ""},
		"a kill before the first row":            {mysqlEntries + ";" + mysqlHead, ""},
		"entries without a head":                 {mysqlEntries + ";" + entry, "the table head is missing"},
		"entries without the head's row":         {mysqlEntries + ";" + mysqlHead + ";" + entry, "the row of the table head is missing"},
		"a head behind its entries":              {mysqlEntries + ";" + mysqlHead + ";" + first + entry, "restored in part"},
		"no unique key":                          {mysqlEntries + "; ALTER TABLE entries DROP KEY entries_by_key", "ALTER TABLE entries ADD UNIQUE KEY entries_by_key"},
		"a key that is not unique":               {mysqlEntries + "; ALTER TABLE entries DROP KEY entries_by_key, ADD KEY entries_by_key (name, revision, deleted)", "ADD UNIQUE KEY"},
		"no primary key":                         {mysqlEntries + "; ALTER TABLE entries DROP PRIMARY KEY", "ADD PRIMARY KEY (revision)"},
		"names with a collation":                 {strings.Replace(mysqlEntries, "VARBINARY(2048)", "VARCHAR(600)", 1), "the column entries.name"},
		"an engine without transactions":         {strings.NewReplacer("InnoDB", "Aria", "ROW_FORMAT = DYNAMIC", "", "VARBINARY(2048)", "VARBINARY(200)").Replace(mysqlEntries), "ENGINE = InnoDB"},
		"a newer layout":                         {mysqlEntries + ";" + mysqlHead + ";" + strings.Replace(first, "(1, 1,", "(1, 9,", 1), "layout 9"},
		"tables of another program":              {"CREATE TABLE entries (id INT)", "another program"},
		"a head of another program of that name": {"CREATE TABLE head (id INT)", "another program"},
	} {
		t.Run(name, func(t *testing.T) {
			m := harness.SharedMariaDB(t)
			database := m.Database(t)
			if err := m.Exec(t.Context(), "USE `"+database+"`; "+tc.statements); err != nil {
				t.Fatal(err)
			}
			endpoint := m.URL(database)
			if tc.refused != "" {
				refused(t, endpoint, tc.refused)
				return
			}
			c := client(t, serve(t, endpoint))
			if got, err := create(t.Context(), c, "/r/a", "v"); err != nil || got.Header.Revision != 2 {
				t.Errorf("create: %v, %v", got, err)
			}
		})
	}
}

// Advice that is wrong costs more than none.
func TestOnlyAUserWhoIsDeniedTheTablesIsToldToGetThem(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  mysqlproxy.Error
		advised bool
	}{
		"denied on the table":    {mysqlproxy.Error{Code: 1142, State: "42000", Message: "CREATE command denied to user"}, true},
		"denied on the database": {mysqlproxy.Error{Code: 1044, State: "42000", Message: "Access denied for user"}, true},
		"read-only":              {mysqlproxy.ErrReadOnly, false},
		"full":                   {mysqlproxy.ErrTableFull, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := harness.SharedMariaDB(t)
			p := mysqlproxy.Run(t, mysqlproxy.Options{Address: m.Address()})
			p.Add(mysqlproxy.Rule{Match: mysqlproxy.OfKind("CREATE"), Fault: mysqlproxy.Fail(tc.answer)})
			s, err := Start(t.Context(), Config{Endpoint: m.URLAt(p.Address(), m.Database(t))})
			if err == nil {
				shut(t, s)
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), tc.answer.Message) || strings.Contains(err.Error(), "grant ALL") != tc.advised {
				t.Errorf("it says %q", err)
			}
		})
	}
}

func TestAServerThatCannotBeReachedIsNamedWithoutItsPassword(t *testing.T) {
	m := harness.SharedMariaDB(t)
	database := m.Database(t)
	for name, tc := range map[string]struct{ endpoint, says string }{
		"nobody listens":            {"mysql://u:hush-hush@127.0.0.1:1/x", "cannot be reached"},
		"a wrong password":          {fmt.Sprintf("mysql://%s:hush-hush@%s/%s", m.User, m.Address(), database), "refuses user"},
		"no such database":          {m.URL(harness.DatabasePrefix + "none"), "CREATE DATABASE"},
		"no database":               {"mysql://u:hush-hush@127.0.0.1:1/", "names no database"},
		"no user":                   {"mysql://127.0.0.1:1/x", "names no user"},
		"a parameter":               {"mysql://u:hush-hush@127.0.0.1:1/x?tls=skip", `unknown parameter "tls"`},
		"a password as a parameter": {"mysql://u@127.0.0.1:1/x?password=hush-hush", `unknown parameter "password"`},
		"half a certificate":        {"mysql://u:hush-hush@127.0.0.1:1/x?cert-file=a", "only one of"},
		"a torn URL":                {"mysql://u:hush-hush%@127.0.0.1:1/x", "cannot be parsed"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, tc.endpoint, tc.says)
			if _, err := Start(t.Context(), Config{Endpoint: tc.endpoint}); strings.Contains(fmt.Sprint(err), "hush") {
				t.Errorf("it tells the password: %v", err)
			}
		})
	}
}
