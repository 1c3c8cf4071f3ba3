package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	kine "github.com/k3s-io/kine/pkg/server"
	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"k8s.io/klog/v2"
)

const (
	// Scheme is what this package's driver is registered as with Kine.
	Scheme = "cellfed"

	// emulatedVersion is the etcd whose answers the API server should expect:
	// from 3.5.13 on it trusts requests for watch progress.
	emulatedVersion = "3.5.13"

	// maxRequest is above etcd's own limit of 1.5 MiB for one request, so that
	// the API server's limits are the ones that a user meets.
	maxRequest = 8 << 20
	maxAnswer  = 1<<31 - 1

	progressInterval = time.Minute
	keepaliveMinimum = 5 * time.Second
)

func init() {
	drivers.Register(Scheme, constructor(openSQLite))
}

// Config says where the log lives.
type Config struct {
	// Endpoint is "sqlite:///abs/path/state.db[?synchronous=full|normal|off]", where
	// less than full may lose acknowledged writes when the machine loses power, or
	// "mysql://user[:password]@host[:port]/database[?…]".
	Endpoint string
	// ReadOnly opens a database that is there for reading, also beside a process that
	// uses it. Nothing expires or is compacted, and every write is refused.
	ReadOnly bool
	// MarkFile is where the server keeps how much of the log it has seen; "" = in
	// memory only, so that a loss shows while the process lives.
	MarkFile string
	// SocketDir is where a private directory for the unix socket is made; ""
	// = the system's directory for temporary files, also if this one is too
	// long for a socket's path.
	SocketDir string
}

// Server is a running storage.
type Server struct {
	backend  *backend
	grpc     *grpc.Server
	watches  *watchServer
	dir      string
	endpoint string

	cancel  context.CancelFunc // ends expiry and sweeping
	serving sync.WaitGroup
	closing sync.Once
	closed  chan struct{}
	err     error
}

// Start opens the database, refuses a corrupt, foreign, locked or unwritable one
// with one error, and serves the etcd API on a private unix socket. ctx bounds
// the start only: the server lives until Close, because it must outlive the API
// server that writes to it.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	return start(ctx, cfg, Scheme)
}

func start(ctx context.Context, cfg Config, scheme string) (*Server, error) {
	if _, err := parseEndpoint(cfg.Endpoint); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	quietKine()
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	_, opened, err := drivers.New(life, &sync.WaitGroup{}, &drivers.Config{Endpoint: scheme + "://" + opening{cfg}.String()})
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Server{backend: opened.(*backend), cancel: cancel, closed: make(chan struct{})}
	if err = s.serve(life, cfg.SocketDir); err == nil {
		err = ctx.Err() // too late for who asked
	}
	if err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// opening carries a Config through Kine, which hands drivers one string.
type opening struct{ Config }

func (o opening) String() string {
	return url.Values{"endpoint": {o.Endpoint}, "readOnly": {strconv.FormatBool(o.ReadOnly)}, "mark": {o.MarkFile}}.Encode()
}

func parseOpening(s string) (o opening, err error) {
	q, err := url.ParseQuery(s)
	if err != nil {
		return o, errors.New("the data source is not one of this package")
	}
	o.Endpoint, o.ReadOnly, o.MarkFile = q.Get("endpoint"), q.Get("readOnly") == "true", q.Get("mark")
	return o, nil
}

// constructor makes the function that Kine calls; the data source name is an
// opening. It opens the database; who asked for the backend closes it.
func constructor(open opener) drivers.Constructor {
	return func(ctx context.Context, _ *sync.WaitGroup, cfg *drivers.Config) (bool, kine.Backend, error) {
		o, err := parseOpening(cfg.DataSourceName)
		if err != nil {
			return false, nil, err
		}
		b, err := openBackend(context.WithoutCancel(ctx), o.Config, open) // an interrupt would undo half a transaction
		return false, b, err
	}
}

func openBackend(ctx context.Context, cfg Config, open opener) (*backend, error) {
	source, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	source.readOnly = cfg.ReadOnly
	data, err := openDatabase(ctx, source, open)
	if err != nil {
		return nil, err
	}
	b := &backend{data: data, hub: newHub(tip{}), gauge: &gauge{}}
	var m *mark
	if b.reader, err = newReader(ctx, data.read, data.dialect, b.hub); err == nil {
		m, err = b.takeUp(ctx, cfg.MarkFile)
	}
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", data.where, errors.Join(err, data.close()))
	}
	b.follower = newFollower(b.hub, b.reader, m, b.gauge)
	b.writer = newWriter(ctx, data, b.follower)
	return b, nil
}

// takeUp goes on from the head of the log; or, when entries are missing that this
// server has seen in an earlier life, from there, so that the first write finds it
// out.
func (b *backend) takeUp(ctx context.Context, markFile string) (*mark, error) {
	m, seen, err := openMark(markFile)
	if err != nil {
		return nil, err
	}
	h, err := b.reader.head(ctx, seen.revision)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	if err := compare(seen, h); errors.Is(err, errLost) {
		b.hub.tip = seen
		return m, nil
	}
	now := tip{h.revision, h.epoch, h.stamp}
	m.set(now)
	b.hub.tip = now
	return m, nil
}

func (s *Server) serve(ctx context.Context, socketDir string) error {
	if err := s.backend.Start(ctx); err != nil {
		return fmt.Errorf("starting storage: %w", err)
	}
	listener, err := s.listen(ctx, socketDir)
	if err != nil {
		return fmt.Errorf("opening the storage socket: %w", err)
	}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(maxAnswer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinimum, PermitWithoutStream: true}),
	)
	bridge := kine.New(s.backend, "unix", progressInterval, emulatedVersion)
	s.watches = &watchServer{backend: s.backend, stop: make(chan struct{})}
	etcdserverpb.RegisterKVServer(s.grpc, &kvServer{KVServer: bridge, backend: s.backend})
	etcdserverpb.RegisterWatchServer(s.grpc, s.watches)
	etcdserverpb.RegisterLeaseServer(s.grpc, bridge)
	etcdserverpb.RegisterClusterServer(s.grpc, bridge)
	etcdserverpb.RegisterMaintenanceServer(s.grpc, bridge)
	s.serving.Go(func() {
		if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.backend.writer.fail(fmt.Errorf("serving the storage socket: %w", err))
		}
	})
	return nil
}

// listen makes the socket in a directory that only this user may enter. A
// socket's path may have 107 bytes, so a long directory is not used.
func (s *Server) listen(ctx context.Context, parent string) (net.Listener, error) {
	const longest = 107 - len("/cellfed-etcd-0123456789/s")
	if len(parent) > longest {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "cellfed-etcd-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	path := filepath.Join(dir, "s")
	s.endpoint = "unix://" + path
	return (&net.ListenConfig{}).Listen(ctx, "unix", path)
}

// Endpoints are what --etcd-servers takes.
func (s *Server) Endpoints() []string { return []string{s.endpoint} }

// Done is closed when the database has failed for good and can take no write
// any more; Err then tells why. Reads may still be answered.
func (s *Server) Done() <-chan struct{} { return s.backend.writer.dead }

// Err tells why Done was closed, nil before.
func (s *Server) Err() error { return s.backend.writer.failure() }

// Close takes no more requests, ends the watches, waits for the writes that were
// accepted, empties the log into the database and closes it. If ctx ends first
// it returns ctx's error, and the rest goes on behind.
func (s *Server) Close(ctx context.Context) error {
	s.closing.Do(func() {
		go func() {
			defer close(s.closed)
			s.err = s.shutDown()
		}()
	})
	select {
	case <-s.closed:
		return s.err
	case <-ctx.Done():
		if s.grpc != nil {
			s.grpc.Stop()
		}
		return fmt.Errorf("closing storage: %w", ctx.Err())
	}
}

func (s *Server) shutDown() error {
	if s.watches != nil {
		close(s.watches.stop)
	}
	s.backend.hub.close(errClosed)
	if s.grpc != nil {
		s.grpc.GracefulStop()
		s.serving.Wait()
	}
	s.cancel()
	err := s.backend.close()
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	if err != nil {
		return fmt.Errorf("closing storage: %w", err)
	}
	return nil
}

// quietKine keeps what Kine writes by itself down to errors, in klog's format.
// Those are errors that its client is told as well, hence the verbosity.
func quietKine() {
	quietOnce.Do(func() {
		logrus.SetLevel(logrus.ErrorLevel)
		logrus.SetOutput(io.Discard)
		logrus.AddHook(klogHook{})
	})
}

var quietOnce sync.Once

type klogHook struct{}

func (klogHook) Levels() []logrus.Level { return []logrus.Level{logrus.ErrorLevel} }

func (klogHook) Fire(e *logrus.Entry) error {
	klog.V(2).InfoS("Storage refused a request", "reason", e.Message)
	return nil
}
