package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cellfed/cellfed/pkg/storage"
)

const (
	// registry is what the keys of a plane begin with where nothing else is said.
	registry = "/registry"

	dialTimeout  = 10 * time.Second
	closeTimeout = 30 * time.Second
	// maxRequest is what the storage takes; the client's own limit is lower than what an API server may have stored.
	maxRequest = 8 << 20
)

// store is an open database with a client of it.
type store struct {
	server storage.Store
	client *clientv3.Client
	space
}

// space is where in a database a plane's keys are: the prefix that all begin
// with, without the last slash.
type space struct{ prefix string }

// all is the range of everything in it.
func (s space) all() (first, behind string) { return s.prefix + "/", s.prefix + "0" }

// own is a key of this package's own. It lies inside, since a database may admit
// the plane to nothing else, and where no resource of an API server is.
func (s space) own(name string) string { return s.prefix + "/cellfed.transfer/" + name }

func (s space) contains(key string) bool {
	first, behind := s.all()
	return key >= first && key < behind
}

// foreign tells what lies inside and is no object: this package's keys, and the
// one by which some backends show that they are well.
func (s space) foreign(key string) bool {
	return key == s.prefix+"/health" || strings.HasPrefix(key, s.own(""))
}

func openStore(ctx context.Context, cfg storage.Config) (*store, error) {
	server, err := storage.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s, err := reach(server.Transport())
	if err != nil {
		return nil, errors.Join(err, server.Close(ctx))
	}
	s.server = server
	return s, nil
}

// reach makes a client of a storage that serves.
func reach(at storage.Transport) (*store, error) {
	secure, err := at.TLS()
	if err != nil {
		return nil, err
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: at.Endpoints, TLS: secure, DialTimeout: dialTimeout, MaxCallSendMsgSize: maxRequest, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the storage: %w", err)
	}
	return &store{client: c, space: space{cmp.Or(strings.TrimRight(at.Prefix, "/"), registry)}}, nil
}

// close lets go of the database, also after ctx has ended.
func (s *store) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = s.client.Close() // nothing is in flight
	return s.server.Close(ctx)
}

// revision is the newest revision.
func (s *store) revision(ctx context.Context) (int64, error) {
	got, err := s.client.Get(ctx, s.own(markName))
	if err != nil {
		return 0, fmt.Errorf("asking for the revision: %w", err)
	}
	return got.Header.Revision, nil
}

const (
	// patience is how long a request that fails is made again: a database is slow at
	// times, and a restore should not begin anew for that.
	patience = 30 * time.Second
	pause    = 200 * time.Millisecond
)

// patiently makes a request, and makes it again while the database cannot answer.
// again tells that an earlier one may have been carried out.
func patiently(ctx context.Context, request func(again bool) error) error {
	begun := time.Now()
	for again := false; ; again = true {
		err := request(again)
		switch codeOf(err) {
		case codes.Unavailable, codes.Internal, codes.DeadlineExceeded:
		default:
			return err
		}
		if time.Since(begun) > patience || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// codeOf is an error's code; etcd's client has errors of its own with one.
func codeOf(err error) codes.Code {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code()
	}
	return status.Code(err)
}
