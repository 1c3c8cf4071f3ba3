package storage

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// kvServer is Kine's translation of key-value requests, but for a plain Put: it
// makes that of a create, a read and an update, and acknowledges it even when
// somebody else came between the read and the update.
type kvServer struct {
	etcdserverpb.KVServer
	backend *backend
}

// Put writes a key in one step.
func (k *kvServer) Put(ctx context.Context, r *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	if r.IgnoreValue || r.IgnoreLease || string(r.Key) == compactKey {
		return k.KVServer.Put(ctx, r)
	}
	revision, before, err := k.backend.Put(ctx, string(r.Key), r.Value, r.Lease)
	if err != nil {
		return nil, err
	}
	response := &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: revision}}
	if r.PrevKv && before != nil {
		response.PrevKv = keyValue(before)
	}
	return response, nil
}
