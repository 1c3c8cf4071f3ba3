package member

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// tolerated is how many failures in a row a synced view survives, if they say nothing definite (the member is busy,
	// a connection broke): a member that is lost is found out by its health. It is also how many relapses it takes for
	// a view to be put on probation.
	tolerated = 3
	// firstRetry is the pause after such a failure; it grows to Options.RetryMax.
	firstRetry = 500 * time.Millisecond
	// sameError is how long an error's words stay the same while its sort does. A member that words each refusal
	// anew must not have every object's status written anew.
	sameError = 5 * time.Minute

	// What a view reads costs its length, and a little for each object.
	pacePerSecond = 8 << 20
	paceBurst     = 32 << 20
	paceEach      = 4 << 10
)

func costOf(raw []byte) float64 { return float64(len(raw) + paceEach) }

// run lists and watches until the connection ends. Everything that a member does wrong ends in a pause that grows, until
// the view has been in order for a while.
func (v *View) run() {
	opts := v.member.opts
	definite, vague := backoff(opts.RetryMin, opts.RetryMax), backoff(min(firstRetry, opts.RetryMin), opts.RetryMax)
	for {
		calm, err := v.liveSafely()
		if v.ctx.Err() != nil {
			return
		}
		if calm {
			definite, vague = backoff(opts.RetryMin, opts.RetryMax), backoff(min(firstRetry, opts.RetryMin), opts.RetryMax)
		}
		pause := vague.Step()
		if v.failed(err) {
			pause = definite.Step()
		}
		if !sleep(v.ctx, max(pause, waitFor(err))) {
			return
		}
	}
}

// liveSafely turns a panic into an error of this view.
func (v *View) liveSafely() (calm bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			utilruntime.HandleErrorWithContext(v.ctx, fmt.Errorf("panic: %v", p), "Reading a member panicked", "member", v.member.name, "kind", nameOf(v.gvr))
			err = v.lie("what it gives cannot be read")
		}
	}()
	return v.live()
}

// live is one life of a view: a list, and the watches that follow from it for as long as they do. It tells whether the
// view was in order for a while.
func (v *View) live() (calm bool, err error) {
	l, err := v.list(v.ctx)
	if err != nil {
		return false, err
	}
	v.replace(l)
	version := l.version
	opts := v.member.opts
	pauses := backoff(min(firstRetry, opts.RetryMin), opts.RetryMin)
	for failures := 0; ; {
		var lived time.Duration
		version, lived, err = v.stream(v.ctx, version)
		if lived >= opts.Calm {
			calm, failures = true, 0
			pauses = backoff(min(firstRetry, opts.RetryMin), opts.RetryMin)
		}
		switch {
		case v.ctx.Err() != nil:
			return calm, context.Cause(v.ctx)
		case err == nil: // it ended in order: the next one goes on where it ended
		case failures < tolerated && !definiteAnswer(err) && !unbelievable(err) && !expired(err):
			failures++ // a connection broke: what was missed comes with the next one
		default:
			return calm, &relapseError{err}
		}
		if !sleep(v.ctx, max(pauses.Step(), waitFor(err))) {
			return calm, context.Cause(v.ctx)
		}
	}
}

// waitFor is how long the member asked not to be called.
func waitFor(err error) time.Duration {
	var busy *BusyError
	if !errors.As(err, &busy) {
		return 0
	}
	return time.Until(busy.Until)
}

// relapseError is a failure after a list that was in order.
type relapseError struct{ error }

func (e *relapseError) Unwrap() error { return e.error }

// expired tells whether a watch cannot go on from where it is, and a new list can.
func expired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err)
}

func definiteAnswer(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
}

func backoff(first, last time.Duration) *wait.Backoff {
	return &wait.Backoff{Duration: first, Cap: last, Factor: 2, Jitter: 0.3, Steps: 1 << 30}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// failed records why the view could not be read, and tells whether that asks for a long pause: the member itself gave
// a definite answer, or one that cannot be true.
func (v *View) failed(err error) (long bool) {
	var relapse *relapseError
	relapsed := errors.As(err, &relapse)
	if relapsed {
		err = relapse.error
	}
	definite := definiteAnswer(err)
	told, class := v.word(err)
	v.mu.Lock()
	if relapsed {
		v.relapses++
	} else {
		v.failures++
	}
	changed := false
	if !v.synced || definite || v.failures >= tolerated || v.relapses >= tolerated {
		changed = v.synced || v.err == nil || v.class != class || time.Since(v.since) > sameError && v.err.Error() != told.Error()
		v.synced = false
		// Nobody may read them, and a member that gives too much would keep its memory.
		v.objects, v.weight = map[types.NamespacedName]*unstructured.Unstructured{}, 0
		if changed {
			v.err, v.class, v.since = told, class, time.Now()
		}
	}
	v.mu.Unlock()
	if changed {
		v.emit("", "")
	}
	return definite || unbelievable(err)
}

// word says what is wrong in the plane's words, and of which sort it is.
func (v *View) word(err error) (told error, class string) {
	name := v.member.name
	var via *url.Error
	if errors.As(err, &via) { // its words are the request's, which nobody needs
		err = via.Err
	}
	var busy *BusyError
	switch {
	case apierrors.IsNotFound(err):
		return &LacksKindError{Member: name, GVR: v.gvr}, "lacks"
	case apierrors.IsForbidden(err):
		return &ForbiddenError{Member: name, GVR: v.gvr, Err: err}, "forbidden"
	case apierrors.IsUnauthorized(err):
		return &UnauthorizedError{Member: name, Err: err}, "unauthorized"
	case unbelievable(err):
		var lie *LieError
		if errors.As(err, &lie) {
			return lie, "lie"
		}
		return err, "much"
	case errors.As(err, &busy), apierrors.IsTooManyRequests(err):
		return fmt.Errorf("reading %s: %w", nameOf(v.gvr), &BusyError{Member: name}), "busy"
	}
	return fmt.Errorf("reading %s of member %s: %w", nameOf(v.gvr), name, err), "other " + string(apierrors.ReasonForError(err))
}
