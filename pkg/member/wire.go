package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

const (
	// maxRefusal bounds what is read of an answer that says no.
	maxRefusal = 64 << 10
	// maxWords bounds what is told of a member's own words.
	maxWords = 512
)

// errTooLong is what a reader says that has read more than it may.
var errTooLong = errors.New("the answer is longer than the plane reads")

// get asks a member for a path and returns its answer, if that is a 200.
func (m *Member) get(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	base, _, err := rest.DefaultServerUrlFor(m.rest)
	if err != nil {
		return nil, err
	}
	u := base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(reading(ctx), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal is the error that an answer other than 200 stands for. The code of HTTP counts, whatever the body says.
func refusal(resp *http.Response) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return fmt.Errorf("it answers with a redirect (%d), and the plane follows none: the endpoint must be the API server's own", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		raw = nil
	}
	var status metav1.Status
	if json.Unmarshal(raw, &status) == nil && status.Kind == "Status" && status.Status == metav1.StatusFailure && int(status.Code) == resp.StatusCode {
		status.Message = clean(status.Message)
		return &apierrors.StatusError{ErrStatus: status}
	}
	words := ""
	if kind := resp.Header.Get("Content-Type"); kind == "" || strings.HasPrefix(kind, "text/plain") {
		words = clean(string(raw))
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, http.MethodGet, schema.GroupResource{}, "", words, 0, true)
}

// clean makes what a member says fit for a line of status.
func clean(words string) string {
	words = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(words, "?"), func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if len(words) > maxWords {
		words = strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}

// pathOf is where a kind's collection is, in all namespaces.
func pathOf(gvr schema.GroupVersionResource) string {
	if gvr.Group == "" {
		return "/api/" + gvr.Version + "/" + gvr.Resource
	}
	return "/apis/" + gvr.Group + "/" + gvr.Version + "/" + gvr.Resource
}

// rationed is a reader that may be read so far, until its ration is renewed.
type rationed struct {
	from io.Reader
	left int64
	used int64 // since the last renewal
	// began is called with each byte that comes.
	began func()
	// turn has heavy rations taken one after the other.
	turn *turn
}

func (r *rationed) renew(ration int64) { r.left, r.used = ration, 0 }

// Read implements io.Reader.
func (r *rationed) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errTooLong
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	if r.used > ordinary {
		if err := r.turn.take(); err != nil {
			return 0, err
		}
	}
	n, err := r.from.Read(p)
	r.left -= int64(n)
	r.used += int64(n)
	if n > 0 && r.began != nil {
		r.began()
	}
	return n, err
}
