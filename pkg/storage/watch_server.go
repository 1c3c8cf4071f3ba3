package storage

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// compactKey is where an API server keeps its compaction in etcd; Kine keeps
// that, with a version in front of the value, under apiCompactKey.
const (
	compactKey    = "compact_rev_key"
	apiCompactKey = "compact_rev_key_apiserver"

	// noWatch is the id of an answer to who asked for no watch that can be.
	noWatch = -1
)

// watchServer speaks etcd's watch protocol, instead of Kine's implementation:
// that one may report progress up to a revision while events before it are
// still on their way, which makes an API server serve stale lists as fresh, and
// wakes ten times a second for each stream, watched or not. Here a report of
// progress passes through the same hands as the events, after them.
type watchServer struct {
	etcdserverpb.UnimplementedWatchServer
	backend *backend
	stop    chan struct{}
	ids     atomic.Int64
}

// Watch serves one stream, which carries any number of watches.
func (w *watchServer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	s := &watchStream{server: w, stream: stream, watches: map[int64]*activeWatch{}}
	ctx, cancel := context.WithCancel(stream.Context())
	defer s.wait.Wait()
	defer cancel()
	requests, failed := make(chan *etcdserverpb.WatchRequest), make(chan error, 1)
	go func() {
		for {
			request, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- request:
			case <-ctx.Done():
				return
			}
		}
	}()
	progress := time.NewTicker(progressInterval)
	defer progress.Stop()
	for {
		var err error
		select {
		case request := <-requests:
			err = s.answer(ctx, request)
		case <-progress.C:
			err = s.progress(false)
		case err = <-failed:
		case <-w.stop:
			err = status.Error(codes.Unavailable, errClosed.Error())
		}
		if err != nil {
			return err
		}
	}
}

// watchStream is one stream and its watches.
type watchStream struct {
	server *watchServer
	stream etcdserverpb.Watch_WatchServer
	wait   sync.WaitGroup

	sending sync.Mutex // a stream admits one sender
	mu      sync.Mutex
	watches map[int64]*activeWatch
}

// activeWatch is a watch that was started by a client.
type activeWatch struct {
	*watcher
	id         int64
	request    *etcdserverpb.WatchCreateRequest
	cancel     context.CancelFunc
	delivering sync.Mutex // taking and sending is one step
	// ended says, under delivering, that the client was told of the end: nothing may
	// follow.
	ended bool
}

func (s *watchStream) answer(ctx context.Context, request *etcdserverpb.WatchRequest) error {
	switch {
	case request.GetCreateRequest() != nil:
		return s.create(ctx, request.GetCreateRequest())
	case request.GetCancelRequest() != nil:
		return s.end(request.GetCancelRequest().WatchId, &etcdserverpb.WatchResponse{})
	case request.GetProgressRequest() != nil:
		return s.progress(true)
	}
	return nil
}

func (s *watchStream) create(ctx context.Context, r *etcdserverpb.WatchCreateRequest) error {
	if r.WatchId != 0 || r.StartRevision < 0 {
		return s.send(s.server.backend.hub.published(), &etcdserverpb.WatchResponse{
			WatchId: noWatch, Created: true, Canceled: true, CancelReason: server.ErrInvalidWatch.Error(),
		})
	}
	id := s.server.ids.Add(1)
	keys := keyRange{string(r.Key), string(r.RangeEnd)}
	if keys.start == compactKey && keys.end == "" {
		keys.start = apiCompactKey
	}
	w, past, upTo, compacted, err := s.server.backend.watch(ctx, keys, r.StartRevision)
	if sendErr := s.send(upTo, &etcdserverpb.WatchResponse{WatchId: id, Created: true}); sendErr != nil {
		if w != nil {
			w.stop()
		}
		return sendErr
	}
	if err != nil {
		return s.send(upTo, &etcdserverpb.WatchResponse{WatchId: id, Canceled: true, CompactRevision: compacted, CancelReason: reason(err)})
	}
	a := &activeWatch{watcher: w, id: id, request: r}
	if err := s.sendEvents(a, past, upTo); err != nil {
		w.stop()
		return err
	}
	ctx, a.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	s.watches[id] = a
	s.mu.Unlock()
	s.wait.Go(func() { s.follow(ctx, a) })
	return nil
}

// follow delivers what comes until the watch ends.
func (s *watchStream) follow(ctx context.Context, a *activeWatch) {
	defer a.stop()
	for {
		select {
		case <-a.signal:
		case <-ctx.Done():
			return
		}
		if err := s.deliver(a); err != nil {
			last := &etcdserverpb.WatchResponse{CancelReason: reason(err)}
			if errors.Is(err, server.ErrCompacted) {
				last.CompactRevision = s.server.backend.hub.published() // whoever watched has to list anew
			}
			// If this cannot be sent either, the stream is ending by itself.
			_ = s.end(a.id, last)
			return
		}
	}
}

// deliver sends all that is pending for a watch.
func (s *watchStream) deliver(a *activeWatch) error {
	a.delivering.Lock()
	defer a.delivering.Unlock()
	if a.ended {
		return nil
	}
	events, upTo, err := a.take()
	if err != nil {
		return err
	}
	return s.sendEvents(a, events, upTo)
}

// progress tells that everything up to a revision was sent: to each watch if it
// was asked for, else to each that wants to know now and then. etcd answers who
// asks by one report to the whole stream. Its client hands that to every watch it
// has, also to one whose channel it has closed because the server ended it, and
// panics; so each watch is told by itself, and one that was ended is not. What is pending is taken from all watches at one moment, and sent before the
// report, and no later event can come in between: an API server takes a report
// of a revision that lies behind events as the revision that its cache shows.
func (s *watchStream) progress(asked bool) error {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.watches))
	s.mu.Unlock()
	watches, watchers := make([]*activeWatch, 0, len(all)), make([]*watcher, 0, len(all))
	for _, a := range all { // only here are several held at once
		a.delivering.Lock()
		defer a.delivering.Unlock()
		if !a.ended {
			watches, watchers = append(watches, a), append(watchers, a.watcher)
		}
	}
	pending, upTo, err := s.server.backend.hub.takeAll(watchers)
	for n, a := range watches {
		if sendErr := s.sendEvents(a, pending[n], upTo); sendErr != nil {
			return sendErr
		}
	}
	if err != nil {
		return nil //nolint:nilerr // follow meets the same error and ends that watch
	}
	for _, a := range watches {
		// A list may have shown more than the hub has published yet. The watch that follows it begins there, and a report
		// from before would have the API server call what was listed by an older revision.
		if !asked && !a.request.ProgressNotify || upTo < a.after {
			continue
		}
		if err := s.send(upTo, &etcdserverpb.WatchResponse{WatchId: a.id}); err != nil {
			return err
		}
	}
	return nil
}

// end takes a watch off and tells so, once.
func (s *watchStream) end(id int64, last *etcdserverpb.WatchResponse) error {
	s.mu.Lock()
	a := s.watches[id]
	delete(s.watches, id)
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	a.cancel()
	a.stop()
	a.delivering.Lock()
	defer a.delivering.Unlock()
	a.ended = true
	last.WatchId, last.Canceled = id, true
	return s.send(s.server.backend.hub.published(), last)
}

func (s *watchStream) sendEvents(a *activeWatch, events []*server.Event, upTo int64) error {
	out := make([]*mvccpb.Event, 0, len(events))
	for _, e := range events {
		if !filtered(a.request.Filters, e) {
			out = append(out, wireEvent(e, a.request.PrevKv))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return s.send(upTo, &etcdserverpb.WatchResponse{WatchId: a.id, Events: out})
}

func (s *watchStream) send(revision int64, r *etcdserverpb.WatchResponse) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	r.Header = &etcdserverpb.ResponseHeader{Revision: revision}
	return s.stream.Send(r)
}

func filtered(filters []etcdserverpb.WatchCreateRequest_FilterType, e *server.Event) bool {
	unwanted := etcdserverpb.WatchCreateRequest_NOPUT
	if e.Delete {
		unwanted = etcdserverpb.WatchCreateRequest_NODELETE
	}
	return slices.Contains(filters, unwanted)
}

func wireEvent(e *server.Event, withPrevious bool) *mvccpb.Event {
	out := &mvccpb.Event{Type: mvccpb.PUT, Kv: keyValue(e.KV)}
	if e.Delete {
		out.Type = mvccpb.DELETE
	}
	if withPrevious && e.PrevKV != nil {
		out.PrevKv = keyValue(e.PrevKV)
	}
	return out
}

// keyValue is an entry as a client sees it.
func keyValue(kv *server.KeyValue) *mvccpb.KeyValue {
	out := &mvccpb.KeyValue{
		Key: []byte(kv.Key), Value: kv.Value, Version: kv.Version, Lease: kv.Lease,
		CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
	}
	if kv.Key == apiCompactKey {
		out.Key = []byte(compactKey)
		out.Version, out.Value = server.DecodeVersion(kv.Value)
	}
	return out
}

// reason is an error as the text of a cancelled watch.
func reason(err error) string {
	if errors.Is(err, server.ErrCompacted) {
		return server.ErrCompacted.Error()
	}
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}
