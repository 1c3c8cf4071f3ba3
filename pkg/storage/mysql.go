package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// mysqlReaders bounds the connections that read.
	mysqlReaders = 16
	// dialLimit bounds a connection attempt, readStall how long an answer that has
	// begun may stand still.
	dialLimit = time.Second
	readStall = 4 * time.Second
	// connectionAge lets connections find a database that moved, and passwords that
	// were changed.
	connectionAge = 5 * time.Minute
	// lockWait is how long the server waits for the head's lock, in seconds. It says
	// so more clearly than a connection that is cut because patience has ended.
	lockWait = 1
	// frozenLimit is how long a transaction may stand still, in seconds. Reading ones
	// count as well; they are never idle for longer than their reader takes to scan.
	frozenLimit = 2
)

// serverSource is a database server as an endpoint names it.
type serverSource struct {
	network, address, database string
	user, password             string
	userFile, passwordFile     string // read for each connection; win over the above
	caFile, certFile, keyFile  string
	serverName                 string
	relaxed                    bool // durability
}

// openMySQL connects, looks whether the server can be relied on, and makes the
// tables when there are none.
func openMySQL(ctx context.Context, source dataSource) (_ *database, err error) {
	d := &database{dialect: mysqlDialect, where: source.where, readOnly: source.readOnly}
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening database %s: %w", source.where, err)
			_ = d.close() // the first error tells more
		}
	}()
	config, err := source.server.config()
	if err != nil {
		return nil, err
	}
	f, err := preflight(ctx, config, source)
	if err != nil {
		return nil, err
	}
	d.pool = sql.OpenDB(connector{config, f.session("READ COMMITTED")})
	d.pool.SetMaxOpenConns(1)
	d.pool.SetConnMaxLifetime(connectionAge)
	reading := config.Clone()
	reading.ReadTimeout = readStall
	d.read = sql.OpenDB(connector{reading, f.session("REPEATABLE READ")})
	d.read.SetMaxOpenConns(mysqlReaders)
	d.read.SetMaxIdleConns(mysqlReaders)
	d.read.SetConnMaxLifetime(connectionAge)
	return d, nil
}

// config is the source in the words of the driver.
func (s *serverSource) config() (*mysql.Config, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName, c.User, c.Passwd = s.network, s.address, s.database, s.user, s.password
	c.Timeout, c.WriteTimeout = dialLimit, readStall
	c.InterpolateParams = true            // one journey instead of three
	c.Logger = log.New(io.Discard, "", 0) // its errors are returned as well
	tlsConfig, err := s.tls()
	if err != nil {
		return nil, err
	}
	c.TLS = tlsConfig
	if err := c.Apply(mysql.Charset("utf8mb4", ""), mysql.BeforeConnect(s.credentials)); err != nil {
		return nil, err
	}
	return c, nil
}

// credentials reads user and password anew for each connection, so that they can
// be changed while the plane runs.
func (s *serverSource) credentials(_ context.Context, c *mysql.Config) error {
	for path, to := range map[string]*string{s.userFile: &c.User, s.passwordFile: &c.Passwd} {
		if path == "" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading credentials of the database: %w", err)
		}
		*to = strings.TrimRight(string(data), "\r\n")
	}
	return nil
}

func (s *serverSource) tls() (*tls.Config, error) {
	if s.caFile == "" && s.certFile == "" {
		return nil, nil
	}
	c := &tls.Config{ServerName: s.serverName, MinVersion: tls.VersionTLS12}
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(s.address)
		if err != nil {
			return nil, errors.New("a socket has no name that a certificate could be for: give server-name")
		}
		c.ServerName = host
	}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of the database: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the CA of the database: %s holds no certificate", s.caFile)
		}
	}
	if s.certFile != "" {
		if _, err := tls.LoadX509KeyPair(s.certFile, s.keyFile); err != nil {
			return nil, fmt.Errorf("reading the client certificate for the database: %w", err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
			return &pair, err
		}
	}
	return c, nil
}

// connector opens connections and puts them in order before anybody uses them.
type connector struct {
	config *mysql.Config
	setup  []string
}

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return mysql.MySQLDriver{} }

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	base, err := mysql.NewConnector(c.config)
	if err != nil {
		return nil, err
	}
	conn, err := base.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, statement := range c.setup {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, statement, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("preparing a connection (%s): %w", statement, err), ignoreBad(conn.Close()))
		}
	}
	return conn, nil
}

func ignoreBad(err error) error {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) {
		return nil
	}
	return err
}

// Errors after which a connection leads nowhere: to a server that shuts down, or
// that has become a replica.
var useless = map[uint16]bool{
	1053: true, // ER_SERVER_SHUTDOWN
	1290: true, // ER_OPTION_PREVENTS_STATEMENT: --read-only
	1792: true, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
	1836: true, // ER_READ_ONLY_MODE
}

// Errors by which a server says farewell to a connection: no answer to what was
// asked, which was not heard. MySQL says so to one that has rested for too long.
var farewell = map[uint16]bool{
	1927: true, // ER_CONNECTION_KILLED
	3169: true, // ER_SESSION_WAS_KILLED
	4031: true, // ER_CLIENT_INTERACTION_TIMEOUT
}

// lostMySQL tells whether the connection cannot be gone on with. What is no answer
// of the server is a failure on the way.
func lostMySQL(err error) bool { return !answered(err) || uselessServer(err) }

// answered tells an answer of the server from a failure on the way to it.
func answered(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && !farewell[answer.Number]
}

// denied tells whether the user may not do what was asked, on the database or a table.
func denied(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && (answer.Number == 1044 || answer.Number == 1142)
}

// uselessServer tells whether the server said that it takes no writes.
func uselessServer(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && useless[answer.Number]
}

// restedTooLong tells whether a connection was ended by its server before anything was asked on it: then it can be asked
// on another one.
func restedTooLong(err error) bool {
	var answer *mysql.MySQLError
	return errors.Is(err, mysql.ErrInvalidConn) || errors.As(err, &answer) && farewell[answer.Number]
}
