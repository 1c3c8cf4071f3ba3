package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const (
	pageSize = 500
	// maxFrame bounds what is around the items of a list, or around the object of an event.
	maxFrame = 64 << 10
	// rawPerWeight is how many bytes a list may have for each byte of memory that its objects may take: bookkeeping,
	// which is dropped, is often the larger half, and a member that does not know label selectors gives everything.
	rawPerWeight = 4
	// minRaw is what any list may have.
	minRaw = 64 << 20
)

// listing is a list on its way, page by page.
type listing struct {
	v       *View
	kind    string // what the items must be; "" = not known
	version string
	objects map[types.NamespacedName]*unstructured.Unstructured
	weight  int64
	raw     int64
	// next is the token of the next page.
	next string
}

// list reads the whole kind, of the moment. It takes no more time, bytes and memory than a member may.
func (v *View) list(ctx context.Context) (*listing, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, v.member.opts.ListTimeout,
		v.lie("a list was not complete within %s", v.member.opts.ListTimeout))
	defer cancel()
	defer v.pending.Store(0)
	l := &listing{v: v, kind: v.expectation().Kind, objects: map[types.NamespacedName]*unstructured.Unstructured{}}
	restarted := false
	for page := 1; ; page++ {
		token := l.next
		err := l.page(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case apierrors.IsResourceExpired(err) && token != "" && !restarted:
			// The snapshot was dropped between two pages: once more from the beginning.
			restarted = true
			l.next, l.weight, l.objects = "", 0, map[types.NamespacedName]*unstructured.Unstructured{}
			continue
		case err != nil:
			return nil, err
		case l.next == "":
			return l, nil
		case l.next == token:
			return nil, v.lie("it gives the same page of a list again and again")
		}
	}
}

func (l *listing) page(ctx context.Context) error {
	query := url.Values{"labelSelector": {managedSelector}, "limit": {strconv.Itoa(pageSize)}}
	if l.next != "" {
		query.Set("continue", l.next)
	}
	resp, err := l.v.member.get(ctx, pathOf(l.v.gvr), query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := &rationed{from: resp.Body, left: maxFrame, turn: &turn{ctx, l.v.member.heavy, false}}
	defer body.turn.leave()
	l.next = ""
	if err := l.read(ctx, json.NewDecoder(body), body); err != nil {
		var syntax *json.SyntaxError
		switch {
		case errors.Is(err, errTooLong):
			return l.v.tooMuch("a single object is longer than %d MiB", maxObject>>20)
		case errors.As(err, &syntax):
			return l.v.lie("a list is no JSON")
		}
		return err
	}
	return nil
}

// read reads one page without ever holding it whole.
func (l *listing) read(ctx context.Context, d *json.Decoder, body *rationed) error {
	if err := l.expect(d, '{'); err != nil {
		return err
	}
	var kind, apiVersion string
	items := false
	for d.More() {
		body.renew(maxFrame)
		key, err := d.Token()
		if err != nil {
			return whole(err)
		}
		switch key {
		case "items":
			if items {
				return l.v.lie("a list has its items twice")
			}
			items = true
			err = l.items(ctx, d, body, kind)
		case "kind":
			err = d.Decode(&kind)
		case "apiVersion":
			err = d.Decode(&apiVersion)
		case "metadata":
			var metadata metav1.ListMeta
			if err = d.Decode(&metadata); err == nil {
				l.version, l.next = metadata.ResourceVersion, metadata.Continue
			}
		default:
			var other json.RawMessage
			err = d.Decode(&other)
		}
		if err != nil {
			return whole(err)
		}
	}
	if err := l.expect(d, '}'); err != nil {
		return err
	}
	switch {
	case apiVersion != l.v.gvr.GroupVersion().String() || kind == "Table":
		return l.v.lie("it gives a %s %s instead of a list", clean(apiVersion), clean(kind))
	case !items:
		return l.v.lie("it gives a %s without items instead of a list", clean(kind))
	case l.version == "":
		return l.v.lie("a list has no resource version")
	}
	return nil
}

func (l *listing) expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return whole(err)
	}
	if token != want {
		return l.v.lie("a list is no JSON object")
	}
	return nil
}

// whole says of an answer that ended too early that it did.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the answer was cut off: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (l *listing) items(ctx context.Context, d *json.Decoder, body *rationed, listKind string) error {
	token, err := d.Token()
	if err != nil || token == nil { // null: no items
		return err
	}
	if token != json.Delim('[') {
		return l.v.lie("the items of a list are none")
	}
	for {
		body.renew(maxObject)
		if !d.More() {
			break
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		if err := l.item(ctx, raw, listKind); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func (l *listing) item(ctx context.Context, raw []byte, listKind string) error {
	l.raw += int64(len(raw))
	if err := l.v.pace.spend(ctx, costOf(raw)); err != nil {
		return err
	}
	kind := l.kind
	if kind == "" {
		kind = kindOfList(listKind)
	}
	u, err := l.v.decode(raw, kind)
	if err != nil {
		return err
	}
	if before, ok := l.v.Get(u.GetNamespace(), u.GetName()); ok && before.GetUID() == u.GetUID() && before.GetResourceVersion() == u.GetResourceVersion() {
		u = before // twice the same need not be held twice
	}
	managed := isManaged(u) // a member that does not know label selectors gives others too
	if managed {
		l.weight += weigh(u.Object)
		l.v.pending.Store(l.weight)
	}
	allowed := l.v.allowance(l.weight)
	switch most := max(minRaw, rawPerWeight*allowed); {
	case l.raw > most:
		return l.v.tooMuch("a list is longer than %d MiB", most>>20)
	case l.weight > allowed:
		return l.v.tooMuch("the objects of a list would take more than %d MiB of memory, more than the plane knows of: see propagation.memoryPerMember", allowed>>20)
	case !managed:
		return nil
	}
	if l.objects[keyOf(u)] != nil {
		return l.v.lie("a list has %s twice", keyOf(u))
	}
	l.objects[keyOf(u)] = u
	return nil
}

// kindOfList is the kind of the items when nobody has said it. Kinds that call their lists otherwise say it in each item.
func kindOfList(list string) string {
	const suffix = "List"
	if len(list) > len(suffix) && list[len(list)-len(suffix):] == suffix {
		return list[:len(list)-len(suffix)]
	}
	return ""
}
