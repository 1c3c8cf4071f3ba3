package member

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// maxPage bounds the answer to a list that somebody asks for by the shared client.
	maxPage = 64 << 20
	// ordinary is the weight of an answer that any number of calls may have at the same time. Heavier ones take turns,
	// so that a member cannot fill the plane's memory by being asked by many.
	ordinary = 512 << 10
)

type readingKey struct{}

// reading marks a call whose answer is measured by whoever reads it.
func reading(ctx context.Context) context.Context { return context.WithValue(ctx, readingKey{}, true) }

// measured bounds the answer to a call.
func (m *Member) measured(req *http.Request, resp *http.Response) {
	if req.Context().Value(readingKey{}) != nil || resp.Body == nil || resp.Body == http.NoBody {
		return
	}
	most := int64(maxObject)
	if req.Method == http.MethodGet && isCollection(req.URL.Path) {
		most = maxPage
	}
	resp.Body = &answerBody{ReadCloser: resp.Body, member: m, left: most, most: most, turn: turn{req.Context(), m.heavy, false}}
}

// turn is the right to read something heavy from a member. One call or view has it at a time.
type turn struct {
	ctx   context.Context //nolint:containedctx // of what is read, which ends before that does
	heavy chan struct{}
	mine  bool
}

func (t *turn) take() error {
	if t.mine {
		return nil
	}
	select {
	case t.heavy <- struct{}{}:
		t.mine = true
		return nil
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}

func (t *turn) leave() {
	if t.mine {
		t.mine = false
		<-t.heavy
	}
}

// isCollection tells whether a path is that of a list.
func isCollection(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return false
	}
	return len(parts) == 1 || len(parts) == 3
}

// answerBody is the body of an answer that is not believed to be short.
type answerBody struct {
	io.ReadCloser
	member     *Member
	left, most int64
	scale      scale
	turn       turn
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer of member %s is longer than %d MiB", b.member.name, b.most>>20)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	b.scale.add(p[:n])
	if b.most == maxObject && b.scale.weight > maxObjectWeight {
		return n, fmt.Errorf("the answer of member %s would take %d MiB of memory", b.member.name, b.scale.weight>>20)
	}
	if b.scale.weight > ordinary {
		if err := b.turn.take(); err != nil {
			return n, err
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.turn.leave()
	return b.ReadCloser.Close()
}
