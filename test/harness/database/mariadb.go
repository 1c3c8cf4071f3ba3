package database

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/cellfed/cellfed/test/harness/process"
)

// MariaDBOptions say how to start MariaDB. The zero value is one that is durable, small and without a binary log.
type MariaDBOptions struct {
	// Flags are more arguments of mariadbd. They win over what the harness says.
	Flags []string
	// TLS refuses connections over TCP without TLS; MariaDB.Certificates then has what a client needs.
	TLS bool
}

// MariaDB is a private mariadbd.
type MariaDB struct {
	*server
	// Port is where it listens on Host.
	Port int
	// User may do everything in databases named by DatabasePrefix, and nothing else: no read-only server lets it write.
	User, Password string
	// Socket is the unix socket, where root needs no password.
	Socket string
	// Certificates is nil without MariaDBOptions.TLS.
	Certificates *Certificates
}

// DatabasePrefix begins the names of databases that MariaDB.User may make.
const DatabasePrefix = "cellfed_"

// RunMariaDB starts MariaDB and ends it with the test.
func RunMariaDB(t testing.TB, options MariaDBOptions) *MariaDB {
	t.Helper()
	m, err := StartMariaDB(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	m.endWith(t)
	return m
}

// StartMariaDB starts MariaDB with new data and returns when it serves. ctx bounds the start only; the caller must
// Close. It is for TestMain and for tools; tests use RunMariaDB or SharedMariaDB.
func StartMariaDB(ctx context.Context, options MariaDBOptions) (*MariaDB, error) {
	binary, err := debianBinary("mariadbd")
	if err != nil {
		return nil, err
	}
	s, err := newServer("mariadb")
	if err != nil {
		return nil, err
	}
	m := &MariaDB{server: s, User: "cellfed", Password: rand.Text(), Socket: s.file("socket")}
	s.probe = func(ctx context.Context) error { return m.Exec(ctx, "SELECT 1") }
	if err := m.prepare(ctx, binary, options); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *MariaDB) prepare(ctx context.Context, binary string, options MariaDBOptions) (err error) {
	if m.Port, err = process.FreePort(Host); err != nil {
		return err
	}
	if options.TLS {
		if m.Certificates, err = NewCertificates(m.file("certificates")); err != nil {
			return err
		}
	}
	args := m.arguments(options)
	m.command = func() *exec.Cmd { return exec.Command(binary, args...) }
	if err := m.install(ctx); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	// The user is as small as a bank's would be: one that may do everything is not stopped by read_only.
	return m.Exec(ctx, fmt.Sprintf("CREATE USER %[1]s@'%%' IDENTIFIED BY '%[2]s'; GRANT ALL ON `%[3]s%%`.* TO %[1]s@'%%'",
		m.User, m.Password, DatabasePrefix[:len(DatabasePrefix)-1]+`\_`))
}

// sizes are the same when the data is made and when it is served.
var sizes = []string{"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"}

func (m *MariaDB) arguments(options MariaDBOptions) []string {
	args := append([]string{
		"--no-defaults",
		"--datadir=" + m.file("data"), "--tmpdir=" + m.dir.path, "--socket=" + m.Socket, "--pid-file=" + m.file("pid"),
		"--bind-address=" + Host, "--port=" + strconv.Itoa(m.Port), "--skip-name-resolve",
		// As durable as the default is, said once more because tests rest on it.
		"--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=ON",
		"--skip-log-bin", "--performance-schema=OFF", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=8M",
		"--max-connections=500",
	}, sizes...)
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // it refuses to run as root unless told to
	}
	if c := m.Certificates; c != nil {
		args = append(args, "--require-secure-transport=ON", "--ssl-ca="+c.CA, "--ssl-cert="+c.ServerCert, "--ssl-key="+c.ServerKey)
	}
	return append(args, options.Flags...)
}

// install makes the system tables.
func (m *MariaDB) install(ctx context.Context) error {
	installer, err := debianBinary("mariadb-install-db")
	if err != nil {
		return err
	}
	// A mariadbd that starts removes temporary tables from its tmpdir, also those of another that is just made.
	args := append([]string{"--no-defaults", "--datadir=" + m.file("data"), "--tmpdir=" + m.dir.path, "--auth-root-authentication-method=normal",
		"--skip-test-db", "--skip-name-resolve"}, sizes...)
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	if out, err := exec.CommandContext(ctx, installer, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("making data of mariadb: %w\n%s", err, out)
	}
	return nil
}

// debianBinary finds what Debian's packages install, in part where only root's PATH looks.
func debianBinary(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not installed: run make databases", name)
	}
	return path, nil
}

// Address is where it listens on TCP.
func (m *MariaDB) Address() string { return net.JoinHostPort(Host, strconv.Itoa(m.Port)) }

// Config is what the Go driver needs to be m.User on TCP. A server with TLS needs a TLS configuration beside it.
func (m *MariaDB) Config(database string) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", m.Address(), m.User, m.Password, database
	if m.Certificates != nil {
		c.TLS = m.Certificates.Client()
	}
	return c
}

// DSN is the same in one line, without TLS.
func (m *MariaDB) DSN(database string) string { return m.Config(database).FormatDSN() }

// URL is a database of it as cellfed's --storage takes it.
func (m *MariaDB) URL(database string) string { return m.URLAt(m.Address(), database) }

// URLAt is the same for a server that is reached at another address: a proxy's.
func (m *MariaDB) URLAt(address, database string) string {
	u := url.URL{Scheme: "mysql", User: url.UserPassword(m.User, m.Password), Host: address, Path: "/" + database}
	return u.String()
}

// Exec runs statements as root, on the unix socket and on a connection of their own.
func (m *MariaDB) Exec(ctx context.Context, statements string) error {
	db, err := m.root()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statements)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("running %q on mariadb: %w", statements, err)
	}
	return nil
}

// Value reads the first column of the first row that a query gives, as root.
func (m *MariaDB) Value(ctx context.Context, query string) (string, error) {
	db, err := m.root()
	if err != nil {
		return "", err
	}
	var value string
	err = db.QueryRowContext(ctx, query).Scan(&value)
	if err := errors.Join(err, db.Close()); err != nil {
		return "", fmt.Errorf("reading %q on mariadb: %w", query, err)
	}
	return value, nil
}

func (m *MariaDB) root() (*sql.DB, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.MultiStatements = "unix", m.Socket, "root", true
	// The driver would tell each failed probe.
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("connecting to mariadb: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// CreateDatabase makes an empty database with a name of its own, as UTF-8 without regard to language.
func (m *MariaDB) CreateDatabase(ctx context.Context) (string, error) {
	name := DatabasePrefix + rand.Text()[:12]
	return name, m.Exec(ctx, "CREATE DATABASE `"+name+"` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
}

// Database makes an empty database for a test and drops it afterwards, when the server is there then.
func (m *MariaDB) Database(t testing.TB) string {
	t.Helper()
	name, err := m.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.PID() == 0 {
			return
		}
		// The test's context has ended. A test that leaves its transaction open must not hold all others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := m.Exec(ctx, "SET lock_wait_timeout=5; DROP DATABASE `"+name+"`"); err != nil {
			t.Errorf("after the test: %v", err)
		}
	})
	return name
}
