package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/version"
)

const (
	etcdScheme = "etcd://"
	etcdPort   = "2379"
	// etcdPrefix is what a plane's keys begin with where the endpoint says nothing:
	// what kube-apiserver writes, so that etcd's own tools know their way.
	etcdPrefix = "/registry"
	// etcdPatience is how long the preflight waits for an etcd that does not answer.
	etcdPatience = 5 * time.Second
	etcdMoment   = 200 * time.Millisecond
)

// oldestEtcd is the first that answers requests for watch progress as the API server needs it.
var oldestEtcd = version.MustParseSemantic("3.5.13")

// Transport is how an API server reaches its storage.
type Transport struct {
	Endpoints []string
	// Prefix is what all keys begin with; "" = the API server's own.
	Prefix string
	// Files of TLS; "" = none.
	CAFile, CertFile, KeyFile string
}

// Store is what an API server stores in: a Server of this package, or an etcd.
type Store interface {
	Transport() Transport
	// Done is closed when the store has failed for good; Err then tells why.
	Done() <-chan struct{}
	Err() error
	// Behind tells why compaction has fallen behind, nil if it has not.
	Behind() error
	Close(ctx context.Context) error
}

var (
	_ Store = (*Server)(nil)
	_ Store = etcd{}
)

// Open starts a Server, or looks at an etcd and refuses one that is unfit. ctx bounds the start only.
func Open(ctx context.Context, cfg Config) (Store, error) {
	if !strings.HasPrefix(cfg.Endpoint, etcdScheme) {
		s, err := Start(ctx, cfg)
		if err != nil {
			return nil, err // and no Store that holds a nil
		}
		return s, nil
	}
	at, err := parseEtcd(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if err := preflightEtcd(ctx, at); err != nil {
		return nil, err
	}
	return etcd{at}, nil
}

// Transport implements Store.
func (s *Server) Transport() Transport { return Transport{Endpoints: s.Endpoints()} }

// etcd is one that others run. The API server speaks to it by itself, waits for it and tells of it in /readyz, so
// nothing here ever fails or needs an end.
type etcd struct{ at Transport }

// Transport implements Store.
func (e etcd) Transport() Transport { return e.at }

// Done implements Store.
func (e etcd) Done() <-chan struct{} { return nil }

// Err implements Store.
func (e etcd) Err() error { return nil }

// Behind implements Store: an etcd's history is looked after by others.
func (e etcd) Behind() error { return nil }

// Close implements Store.
func (e etcd) Close(context.Context) error { return nil }

// parseEtcd reads "etcd://host[:port][,host[:port]…][/prefix][?ca-file=…&cert-file=…&key-file=…]". The list of hosts is
// no URL's host, so it is read by hand.
func parseEtcd(endpoint string) (Transport, error) {
	rest := strings.TrimPrefix(endpoint, etcdScheme)
	hosts, query, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(hosts, "/")
	if strings.Contains(hosts, "@") {
		return Transport{}, errors.New("storage endpoint etcd://… names a user, which is not offered: prove who the plane is by a certificate (cert-file, key-file)")
	}
	refuse := func(format string, args ...any) (Transport, error) {
		return Transport{}, fmt.Errorf("storage endpoint %q %s: want etcd://host1:2379,host2:2379[/prefix][?ca-file=…&cert-file=…&key-file=…]", etcdScheme+hosts, fmt.Sprintf(format, args...))
	}
	at := Transport{Prefix: etcdPrefix}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		at.Prefix = "/" + prefix
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return refuse("has malformed parameters")
	}
	known := map[string]*string{"ca-file": &at.CAFile, "cert-file": &at.CertFile, "key-file": &at.KeyFile}
	for name, values := range parameters {
		to, ok := known[name]
		if !ok {
			return refuse("has an unknown parameter %q", name)
		}
		*to = values[len(values)-1]
	}
	if (at.CertFile == "") != (at.KeyFile == "") {
		return refuse("has only one of cert-file and key-file")
	}
	scheme := "http://"
	if at.CAFile != "" || at.CertFile != "" {
		scheme = "https://"
	}
	for host := range strings.SplitSeq(hosts, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), etcdPort
		}
		if name == "" {
			return refuse("has a host without a name")
		}
		at.Endpoints = append(at.Endpoints, scheme+net.JoinHostPort(name, port))
	}
	return at, nil
}

// TLS is the TLS configuration; nil without TLS.
func (t Transport) TLS() (*tls.Config, error) {
	if t.CAFile == "" && t.CertFile == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the storage's ca-file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the storage's ca-file: %s holds no certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the storage's cert-file and key-file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Read returns the values of keys, prefix and all, as they are stored, nil for a key that is not there: for who must
// know something before an API server runs.
func (t Transport) Read(ctx context.Context, keys ...string) ([][]byte, error) {
	conf, err := t.TLS()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{Context: ctx, Endpoints: t.Endpoints, TLS: conf, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("reaching the storage: %w", err)
	}
	defer client.Close()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		resp, err := client.Get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("reading %s from the storage: %w", key, err)
		}
		if len(resp.Kvs) > 0 {
			values[i] = resp.Kvs[0].Value
		}
	}
	return values, nil
}

// preflightEtcd asks every member, and refuses what the plane would stumble over later. A member that does not answer
// is no reason, as long as one does that has a quorum.
func preflightEtcd(ctx context.Context, at Transport) error {
	conf, err := at.TLS()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, etcdPatience)
	defer cancel()
	answers := make(chan error, len(at.Endpoints))
	for _, endpoint := range at.Endpoints {
		go func() { answers <- askEtcd(ctx, endpoint, at.Prefix, conf) }()
	}
	var silent []error
	var enough <-chan time.Time // once one is fit, the others have a moment to say that they are not
	for range at.Endpoints {
		var unfit *unfitError
		select {
		case <-enough:
			return nil
		case err := <-answers:
			switch {
			case err == nil && enough == nil:
				enough = time.After(etcdMoment)
			case errors.As(err, &unfit):
				return err
			case err != nil:
				silent = append(silent, err)
			}
		}
	}
	if enough != nil {
		return nil
	}
	return errors.Join(silent...)
}

// unfitError says why an etcd that answers cannot be used, and what to do.
type unfitError struct{ message string }

// Error implements error.
func (e *unfitError) Error() string { return e.message }

func unfit(format string, args ...any) error { return &unfitError{fmt.Sprintf(format, args...)} }

// askEtcd looks at one member.
func askEtcd(ctx context.Context, endpoint, prefix string, conf *tls.Config) error {
	if err := knock(ctx, endpoint, conf); err != nil {
		return fmt.Errorf("etcd at %s cannot be reached: %w", endpoint, err)
	}
	client, err := clientv3.New(clientv3.Config{Context: ctx, Endpoints: []string{endpoint}, TLS: conf, Logger: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("etcd at %s cannot be reached: %w", endpoint, err)
	}
	defer client.Close()
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return fmt.Errorf("etcd at %s does not answer: %w", endpoint, err)
	}
	v, err := version.ParseSemantic(status.Version)
	if err != nil || v.LessThan(oldestEtcd) {
		return unfit("etcd at %s is version %q: the plane needs %s or newer, which tell how far a watch has come", endpoint, status.Version, oldestEtcd)
	}
	// What needs a quorum, and the right to do it.
	_, err = client.Get(ctx, prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrPermissionDenied):
		return unfit("etcd at %s does not let the plane read %s/: give the user in its certificate a role for that prefix (%v)", endpoint, prefix, err)
	case err != nil:
		return fmt.Errorf("etcd at %s cannot read (has it lost its quorum?): %w", endpoint, err)
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("etcd at %s does not tell of its alarms: %w", endpoint, err)
	}
	for _, a := range alarms.Alarms {
		switch a.Alarm {
		case etcdserverpb.AlarmType_NOSPACE:
			return unfit("etcd at %s has used up its space and takes no writes (alarm NOSPACE): compact, defragment and disarm it, or raise its quota", endpoint)
		case etcdserverpb.AlarmType_CORRUPT:
			return unfit("etcd at %s says that its data is corrupt (alarm CORRUPT): mend it first", endpoint)
		}
	}
	return nil
}

// knock opens a connection by hand, for the reason why there is none: the client tries again for as long as it may, and
// then says that it took too long.
func knock(ctx context.Context, endpoint string, conf *tls.Config) error {
	_, address, _ := strings.Cut(endpoint, "://")
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { conn.Close() }()
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = []string{"h2"}
		conf.ServerName, _, err = net.SplitHostPort(address)
		if err != nil {
			return err
		}
		secure := tls.Client(conn, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secure
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	// What HTTP/2 begins with; the answer to it tells whether a certificate was taken.
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	switch _, err := conn.Read(make([]byte, 1)); {
	case err != nil && conf == nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it ends connections without TLS (give ca-file, if it speaks TLS): %w", err)
	case err != nil:
		return err
	}
	return nil
}
