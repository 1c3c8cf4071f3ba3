package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// A watch is asked to end after a time between these, so that one that died silently is noticed.
const (
	shortestWatch = 5 * time.Minute
	longestWatch  = 10 * time.Minute
	// grace is how much longer than asked for a watch may last.
	grace = 30 * time.Second
)

// frame is one event of a watch, as it is sent.
type frame struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// stream follows one watch from a version until it ends, and returns the version that it got to, and how long the member
// let it live. An orderly end is nil.
func (v *View) stream(ctx context.Context, version string) (got string, lived time.Duration, err error) {
	long := shortestWatch + rand.N(longestWatch-shortestWatch)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	overdue := time.AfterFunc(long+grace, func() { cancel(errOverdue) })
	defer overdue.Stop()
	resp, err := v.member.get(ctx, pathOf(v.gvr), url.Values{
		"labelSelector": {managedSelector}, "watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version},
		"timeoutSeconds": {strconv.Itoa(int(long.Seconds()))},
	})
	if err != nil {
		return version, 0, err
	}
	defer resp.Body.Close()
	began := time.Now()
	v.follows(true)
	defer v.follows(false)
	defer time.AfterFunc(v.member.opts.Calm, v.calm).Stop()
	got, err = v.follow(ctx, cancel, resp.Body, version)
	return got, time.Since(began), err
}

// follow takes over the events of a watch.
func (v *View) follow(ctx context.Context, cancel context.CancelCauseFunc, from io.Reader, version string) (string, error) {
	// An event that has begun must not take for ever; between events a watch may be silent.
	tooSlow := v.lie("an event of a watch was not complete within %s", v.member.opts.EventTimeout)
	slow := time.AfterFunc(time.Hour, func() { cancel(tooSlow) })
	defer slow.Stop()
	slow.Stop()
	waiting := false
	begin := func() {
		if !waiting {
			waiting = true
			slow.Reset(v.member.opts.EventTimeout)
		}
	}
	body := &rationed{from: from, left: maxObject + maxFrame, began: begin, turn: &turn{ctx, v.member.heavy, false}}
	defer body.turn.leave()
	d := json.NewDecoder(body)
	for {
		var f frame
		if err := d.Decode(&f); err != nil {
			return version, v.streamError(ctx, err)
		}
		slow.Stop()
		waiting = false
		if rest, ok := d.Buffered().(*bytes.Reader); ok {
			body.renew(maxObject + maxFrame - int64(rest.Len()))
			if rest.Len() > 1 { // more than a line end
				begin()
			}
		}
		if err := v.pace.spend(ctx, costOf(f.Object)); err != nil {
			return version, err
		}
		var err error
		if version, err = v.event(f, version); err != nil {
			return version, err
		}
		if body.turn.mine { // the decoder would keep the room that it made for this event
			rest, err := io.ReadAll(d.Buffered())
			if err != nil {
				return version, err
			}
			d = json.NewDecoder(io.MultiReader(bytes.NewReader(rest), body))
			body.turn.leave()
		}
	}
}

// errOverdue ends a watch that outlives what it was asked for.
var errOverdue = errors.New("the watch did not end when it should")

func (v *View) streamError(ctx context.Context, err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errOverdue):
		return nil
	case cause != nil:
		return cause
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, errTooLong):
		return v.tooMuch("an event of a watch is longer than %d MiB", maxObject>>20)
	case errors.As(err, &syntax) || errors.As(err, &typ):
		return v.lie("an event of a watch is no JSON")
	}
	return err
}

// event takes over one event of a watch, and returns the version that the watch is at.
func (v *View) event(f frame, version string) (string, error) {
	switch kind := watch.EventType(f.Type); kind {
	case watch.Error:
		return version, v.told(f.Object)
	case watch.Bookmark:
		var mark metav1.PartialObjectMetadata
		if len(f.Object) > maxFrame || json.Unmarshal(f.Object, &mark) != nil || mark.ResourceVersion == "" {
			return version, v.lie("a watch gives a bookmark without a resource version")
		}
		if earlier(mark.ResourceVersion, version) {
			return version, v.lie("a watch went back in time")
		}
		return mark.ResourceVersion, nil
	case watch.Added, watch.Modified, watch.Deleted:
		u, err := v.decode(f.Object, v.expectation().Kind)
		if err != nil {
			return version, err
		}
		return v.object(kind, u, version)
	}
	return version, v.lie("a watch gives an event of type %s", clean(f.Type))
}

func (v *View) object(kind watch.EventType, u *unstructured.Unstructured, version string) (string, error) {
	now := u.GetResourceVersion()
	if earlier(now, version) {
		return version, v.lie("a watch went back in time")
	}
	if kind == watch.Deleted || !isManaged(u) {
		v.drop(keyOf(u))
		return now, nil
	}
	return now, v.keep(u)
}

// told is the error that a watch was told.
func (v *View) told(raw json.RawMessage) error {
	var status metav1.Status
	if len(raw) > maxRefusal || json.Unmarshal(raw, &status) != nil || status.Kind != "Status" {
		return v.lie("a watch gives an error that is none")
	}
	status.Message = clean(status.Message)
	return fmt.Errorf("the watch was ended: %w", &apierrors.StatusError{ErrStatus: status})
}
