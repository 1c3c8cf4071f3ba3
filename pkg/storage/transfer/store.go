package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cellfed/cellfed/pkg/storage"
)

const (
	// Everything of an API server lies under this prefix; end is the first key behind.
	prefix = "/registry/"
	end    = "/registry0"
	// healthKey is the storage's own, on the backends that have it.
	healthKey = "/registry/health"

	dialTimeout  = 10 * time.Second
	closeTimeout = 30 * time.Second
	// maxRequest is what the storage takes; the client's own limit is lower than what an API server may have stored.
	maxRequest = 8 << 20
)

// store is an open database with a client of it.
type store struct {
	server *storage.Server
	client *clientv3.Client
}

func openStore(ctx context.Context, cfg storage.Config) (*store, error) {
	server, err := storage.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &store{server: server}
	if s.client, err = dial(server.Endpoints()); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func dial(endpoints []string) (*clientv3.Client, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: dialTimeout, MaxCallSendMsgSize: maxRequest, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the storage: %w", err)
	}
	return c, nil
}

// close lets go of the database, also after ctx has ended.
func (s *store) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if s.client != nil {
		_ = s.client.Close() // nothing is in flight
	}
	return s.server.Close(ctx)
}

// revision is the newest revision.
func (s *store) revision(ctx context.Context) (int64, error) {
	got, err := s.client.Get(ctx, markKey)
	if err != nil {
		return 0, fmt.Errorf("asking for the revision: %w", err)
	}
	return got.Header.Revision, nil
}
