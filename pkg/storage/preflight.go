package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// flavour is which server speaks the protocol.
type flavour string

const (
	flavourMySQL     flavour = "MySQL"
	flavourMariaDB   flavour = "MariaDB"
	flavourOceanBase flavour = "OceanBase"
)

// oldest are the first versions that are taken.
var oldest = map[flavour][2]int{flavourMySQL: {8, 0}, flavourMariaDB: {10, 11}, flavourOceanBase: {4, 0}}

// smallestPacket is what a server must take in one packet: the largest object, as
// text, with what else shares its transaction.
const smallestPacket = 16 << 20

// preflightLimit bounds what is asked at the start.
const preflightLimit = 10 * time.Second

// session are the statements that put a connection in order. A process that is
// frozen in the middle of a transaction must not keep the head's lock from all
// others: the server ends what stands still for too long, in each product by
// another name. MySQL knows no such limit for transactions, so there a writing
// connection that rests is ended as well, and made anew when it is needed.
func (f flavour) session(isolation string) []string {
	limits := map[flavour]string{
		flavourMariaDB:   fmt.Sprintf("innodb_lock_wait_timeout = %d, idle_transaction_timeout = %d", lockWait, frozenLimit),
		flavourMySQL:     fmt.Sprintf("innodb_lock_wait_timeout = %d, wait_timeout = %d", lockWait, frozenLimit),
		flavourOceanBase: fmt.Sprintf("ob_trx_lock_timeout = %d, ob_trx_idle_timeout = %d", lockWait*1_000_000, frozenLimit*1_000_000), // in microseconds
	}
	return []string{
		"SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', " + limits[f],
		"SET SESSION TRANSACTION ISOLATION LEVEL " + isolation,
	}
}

// preflight looks whether a server keeps what it promises, and makes the tables
// when there are none. Its errors say what is wrong, and how to set it right, in
// one line.
func preflight(ctx context.Context, config *mysql.Config, source dataSource) (f flavour, err error) {
	ctx, cancel := context.WithTimeout(ctx, preflightLimit)
	defer cancel()
	db := sql.OpenDB(connector{config: config})
	defer db.Close() //nolint:errcheck // nothing is left to be said to it
	conn, err := db.Conn(ctx)
	if err != nil {
		return "", unreachable(err, config)
	}
	defer conn.Close() //nolint:errcheck // closed with db
	p := &inspection{ctx: ctx, conn: conn, source: source}
	if f, err = p.flavour(); err != nil {
		return "", err
	}
	for _, statement := range f.session("READ COMMITTED") {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return "", fmt.Errorf("%s does not take %q: %w", f, statement, err)
		}
	}
	if err := p.settings(f); err != nil {
		return "", err
	}
	return f, p.schema()
}

// unreachable says why a first connection failed.
func unreachable(err error, config *mysql.Config) error {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return fmt.Errorf("the server cannot be reached: %w", err)
	}
	switch answer.Number {
	case 1044, 1045, 1698:
		return fmt.Errorf("the server refuses user %q: check the user, its password and its grants: %w", config.User, err)
	case 1049:
		return fmt.Errorf("there is no database %q: create it with CREATE DATABASE, and grant ALL on it to the user: %w", config.DBName, err)
	}
	return err
}

// inspection asks a server about itself.
type inspection struct {
	ctx    context.Context
	conn   *sql.Conn
	source dataSource
}

func (p *inspection) flavour() (flavour, error) {
	var version, comment string
	if err := p.conn.QueryRowContext(p.ctx, "SELECT VERSION(), @@version_comment").Scan(&version, &comment); err != nil {
		return "", fmt.Errorf("asking for the version: %w", err)
	}
	f, number := flavourMySQL, version
	switch all := strings.ToLower(version + " " + comment); {
	case strings.Contains(all, "oceanbase"):
		f = flavourOceanBase
		// 5.7.25-OceanBase-v4.2.1.2 speaks of MySQL first.
		if _, after, found := strings.Cut(strings.ToLower(version), "oceanbase-v"); found {
			number = after
		} else if _, after, found := strings.Cut(strings.ToLower(comment), "oceanbase_ce "); found {
			number = after
		} else if _, after, found := strings.Cut(strings.ToLower(comment), "oceanbase "); found {
			number = after
		}
	case strings.Contains(all, "mariadb"):
		f = flavourMariaDB
		number = strings.TrimPrefix(number, "5.5.5-")
	case strings.Contains(all, "tidb"), strings.Contains(all, "vitess"), strings.Contains(all, "dolt"), strings.Contains(all, "singlestore"):
		return "", fmt.Errorf("the server is %s %s: only MySQL, MariaDB and OceanBase are supported", version, comment)
	}
	major, minor := parseVersion(number)
	if want := oldest[f]; major < want[0] || major == want[0] && minor < want[1] {
		return "", fmt.Errorf("the server is %s %s: %d.%d is the oldest that is supported, upgrade it", f, number, want[0], want[1])
	}
	return f, nil
}

// parseVersion reads the first two numbers; what is no number counts as 0.
func parseVersion(s string) (major, minor int) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) > 0 {
		major, _ = strconv.Atoi(parts[0])
	}
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}

// variable is a setting of the session or the server; "" = it is unknown there.
func (p *inspection) variable(name string) (string, error) {
	var key, value string
	err := p.conn.QueryRowContext(p.ctx, "SHOW VARIABLES WHERE Variable_name = ?", name).Scan(&key, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking for the variable %s: %w", name, err)
	}
	return strings.ToUpper(value), nil
}

// settings refuses a server that would lose, reorder or refuse what is written.
func (p *inspection) settings(f flavour) error {
	v := map[string]string{}
	for _, name := range []string{
		"read_only", "super_read_only", "innodb_read_only", "auto_increment_increment", "log_bin", "binlog_format", "max_allowed_packet",
		"innodb_flush_log_at_trx_commit", "wsrep_on", "group_replication_single_primary_mode", "transaction_isolation", "tx_isolation", "autocommit",
	} {
		value, err := p.variable(name)
		if err != nil {
			return err
		}
		v[name] = value
	}
	on := func(name string) bool { return v[name] == "ON" || v[name] == "1" }
	isolation := v["transaction_isolation"]
	if isolation == "" {
		isolation = v["tx_isolation"]
	}
	packet, _ := strconv.ParseInt(v["max_allowed_packet"], 10, 64)
	switch {
	case !p.source.readOnly && (on("read_only") || on("super_read_only") || on("innodb_read_only")):
		return errors.New("the server is read-only: connect to the primary, or SET GLOBAL read_only = OFF")
	case on("wsrep_on"):
		return errors.New("the server is part of a Galera cluster (wsrep_on), which admits several writers and may lose what it acknowledged: use a single primary")
	case v["group_replication_single_primary_mode"] == "OFF":
		return errors.New("the server is part of a group with several primaries: SET GLOBAL group_replication_single_primary_mode = ON")
	case f != flavourOceanBase && v["auto_increment_increment"] != "" && v["auto_increment_increment"] != "1":
		return fmt.Errorf("auto_increment_increment is %s, which says that several primaries write: use a single primary, and SET GLOBAL auto_increment_increment = 1",
			v["auto_increment_increment"])
	case on("log_bin") && v["binlog_format"] == "STATEMENT":
		return errors.New("binlog_format is STATEMENT, with which READ COMMITTED cannot write: SET GLOBAL binlog_format = 'ROW'")
	case packet > 0 && packet < smallestPacket:
		return fmt.Errorf("max_allowed_packet is %d: SET GLOBAL max_allowed_packet = %d", packet, 4*smallestPacket)
	case !p.source.server.relaxed && v["innodb_flush_log_at_trx_commit"] != "" && v["innodb_flush_log_at_trx_commit"] != "1":
		return fmt.Errorf("innodb_flush_log_at_trx_commit is %s, so that a crash loses what was acknowledged: SET GLOBAL innodb_flush_log_at_trx_commit = 1, or say durability=relaxed in the endpoint",
			v["innodb_flush_log_at_trx_commit"])
	case isolation != "" && isolation != "READ-COMMITTED":
		return fmt.Errorf("the isolation level stays %s where READ COMMITTED was asked for: is there a proxy in between? Connect to the server itself", isolation)
	}
	return nil
}
