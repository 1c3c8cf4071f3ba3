package database

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func open(t *testing.T, config *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
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

func count(t *testing.T, db *sql.DB, table string) int {
	t.Helper()
	n := 0
	must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n))
	return n
}

func TestWhatWasCommittedIsThereAfterAKillOnTheSamePort(t *testing.T) {
	m := RunMariaDB(t, MariaDBOptions{})
	db := open(t, m.Config(m.Database(t)))
	_, err := db.ExecContext(t.Context(), "CREATE TABLE a (id INT PRIMARY KEY)")
	must(t, err)
	for round, end := range []func() error{m.Kill, m.Stop} {
		_, err := db.ExecContext(t.Context(), "INSERT INTO a VALUES (?)", round)
		must(t, err)
		must(t, end())
		if m.PID() != 0 {
			t.Error("a server that was ended has a process")
		}
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("a server that was ended answers")
		}
		must(t, m.Start(t.Context()))
		if got := count(t, db, "a"); got != round+1 {
			t.Errorf("%d rows after round %d", got, round)
		}
	}
}

func TestAPausedServerAnswersNobodyUntilItContinues(t *testing.T) {
	m := RunMariaDB(t, MariaDBOptions{})
	db := open(t, m.Config(""))
	must(t, db.PingContext(t.Context()))
	must(t, m.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "DO 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("paused: got %v", err)
	}
	must(t, m.Continue())
	_, err := db.ExecContext(t.Context(), "DO 1")
	must(t, err)
	must(t, m.Pause())
	must(t, m.Kill())
}

func TestTheServerIsAsDurableAsABanksIs(t *testing.T) {
	m := SharedMariaDB(t)
	for variable, want := range map[string]string{
		"innodb_flush_log_at_trx_commit": "1", "innodb_doublewrite": "1", "log_bin": "0", "bind_address": Host,
		"sql_mode": "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION",
	} {
		got, err := m.Value(t.Context(), "SELECT @@GLOBAL."+variable)
		must(t, err)
		if got != want {
			t.Errorf("%s is %s, want %s", variable, got, want)
		}
	}
}

func TestAReadOnlyServerStopsTheUserAndADatabaseOfAnotherNameDoesToo(t *testing.T) {
	m := SharedMariaDB(t)
	db := open(t, m.Config(m.Database(t)))
	_, err := db.ExecContext(t.Context(), "CREATE TABLE a (id INT PRIMARY KEY)")
	must(t, err)
	must(t, m.Exec(t.Context(), "SET GLOBAL read_only=1"))
	_, err = db.ExecContext(t.Context(), "INSERT INTO a VALUES (1)")
	must(t, m.Exec(t.Context(), "SET GLOBAL read_only=0"))
	var refused *mysql.MySQLError
	if !errors.As(err, &refused) || refused.Number != 1290 {
		t.Errorf("read-only: got %v, want error 1290", err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE another"); !errors.As(err, &refused) || refused.Number != 1044 {
		t.Errorf("another database: got %v, want error 1044", err)
	}
}

func TestEachTestHasADatabaseOfItsOwn(t *testing.T) {
	m := SharedMariaDB(t)
	name := ""
	t.Run("a test", func(t *testing.T) {
		name = m.Database(t)
		if other := m.Database(t); other == name {
			t.Error("two databases have one name")
		}
		_, err := open(t, m.Config(name)).ExecContext(t.Context(), "CREATE TABLE a (id INT PRIMARY KEY)")
		must(t, err)
	})
	got, err := m.Value(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name='"+name+"'")
	must(t, err)
	if got != "0" {
		t.Errorf("the database is there after its test")
	}
}

func TestAServerWithTLSRefusesWhoSpeaksWithoutAndFlagsWin(t *testing.T) {
	m := RunMariaDB(t, MariaDBOptions{TLS: true, Flags: []string{"--log-bin", "--binlog-format=STATEMENT"}})
	config := m.Config("")
	must(t, open(t, config).PingContext(t.Context()))

	stranger, err := NewCertificates(t.TempDir())
	must(t, err)
	config = m.Config("")
	config.TLS = stranger.Client()
	if err := open(t, config).PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another authority: got %v", err)
	}
	config = m.Config("")
	config.TLS = nil
	if err := open(t, config).PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "Access denied") {
		t.Errorf("without TLS: got %v", err)
	}
	got, err := m.Value(t.Context(), "SELECT CONCAT(@@log_bin, ' ', @@binlog_format)")
	must(t, err)
	if got != "ON STATEMENT" {
		t.Errorf("the binary log is %s", got)
	}
}

func TestAFlagThatTheServerRefusesIsToldWithItsLog(t *testing.T) {
	_, err := StartMariaDB(t.Context(), MariaDBOptions{Flags: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("got %v", err)
	}
}

func TestManyServersAreMadeAtOnce(t *testing.T) {
	var made errgroup.Group
	for range 4 {
		made.Go(func() error {
			m, err := StartMariaDB(t.Context(), MariaDBOptions{})
			if err != nil {
				return err
			}
			return m.Close()
		})
	}
	must(t, made.Wait())
}
