package reencrypt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	// workers write at the same time, pageSize objects are read at once.
	workers  = 8
	pageSize = 250
	// maxRounds ends a run in which something always encrypts otherwise: another server with another configuration.
	maxRounds = 5
	// patience is for how long one object is tried while the plane does not answer well.
	patience = 30 * time.Second
	pause    = 250 * time.Millisecond
)

// Progress is told how far a run has come.
type Progress interface {
	Set(label string, done, total int, note string)
}

// Options say what to write anew.
type Options struct {
	// Config is an administrator's connection to the plane.
	Config *rest.Config
	// Resources are what is encrypted, as resource.group. Those that the plane does not have are passed over.
	Resources []string
	// Hash names the configuration that the plane must have started with; empty when it is not known.
	Hash     string
	Progress Progress
}

// Verdict is what a run came to.
type Verdict struct {
	// Objects is how many there were in the last round, all of which are encrypted with the current key unless there is an error.
	Objects int
	// Written is how many were written anew, in all rounds.
	Written int
	// Rounds is how many times all objects were gone through.
	Rounds int
}

// Run writes everything anew and verifies it.
func Run(ctx context.Context, o Options) (Verdict, error) {
	r := &runner{Options: o}
	if err := r.connect(); err != nil {
		return Verdict{}, err
	}
	// All would be written with a key that is to go if the plane had not started with what is at hand.
	loaded, _, err := r.current(ctx)
	if err != nil {
		return Verdict{}, err
	}
	if r.Hash != "" && loaded != r.Hash {
		return Verdict{}, errors.New("the plane has not started with the encryption configuration that is in its data directory: restart it first")
	}
	var v Verdict
	for v.Rounds < maxRounds {
		v.Rounds++
		objects, written, err := r.round(ctx, v.Rounds)
		v.Objects, v.Written = objects, v.Written+written
		if err != nil {
			return v, err
		}
		if written > 0 {
			continue
		}
		// A plane that was started anew meanwhile may write with another key than the one that was verified.
		now, waited, err := r.current(ctx)
		if err != nil {
			return v, err
		}
		if now != loaded {
			return v, errors.New("the plane was started with another encryption configuration meanwhile: run this again, once no server is started any more")
		}
		if !waited {
			return v, nil
		}
	}
	return v, fmt.Errorf("something goes on to be encrypted otherwise after %d rounds: is there another server that was not started anew?", v.Rounds)
}

type runner struct {
	Options
	client dynamic.Interface
	raw    rest.Interface
}

// round goes through all objects once.
func (r *runner) round(ctx context.Context, number int) (objects, written int, err error) {
	for _, resource := range r.Resources {
		gvr, there, err := r.resolve(ctx, resource)
		if err != nil {
			return objects, written, err
		}
		if !there {
			continue
		}
		pass := &pass{client: r.client.Resource(gvr), progress: r.Progress, label: label(number, resource)}
		err = pass.run(ctx)
		objects, written = objects+int(pass.done.Load()), written+int(pass.written.Load())
		if err != nil {
			return objects, written, fmt.Errorf("writing %s anew: %w", resource, err)
		}
	}
	return objects, written, nil
}

func label(round int, resource string) string {
	if round == 1 {
		return "writing " + resource
	}
	return "verifying " + resource
}

// pass is one round over one resource.
type pass struct {
	client   dynamic.NamespaceableResourceInterface
	progress Progress
	label    string

	done, written, failed atomic.Int64
	total                 int

	mu    sync.Mutex
	first error
}

func (p *pass) run(ctx context.Context) error {
	next := ""
	for {
		var page *unstructured.UnstructuredList
		err := patiently(ctx, func() (err error) {
			page, err = p.client.List(ctx, metav1.ListOptions{Limit: pageSize, Continue: next})
			return err
		})
		if err != nil {
			return fmt.Errorf("listing: %w%s", err, causes(err))
		}
		if next == "" {
			p.total = len(page.Items)
			if more := page.GetRemainingItemCount(); more != nil {
				p.total += int(*more)
			}
			p.progress.Set(p.label, 0, p.total, "")
		}
		p.page(ctx, page.Items)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if next = page.GetContinue(); next == "" {
			break
		}
	}
	if n := p.failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d objects could not be written, the first of them: %w", n, p.done.Load(), p.first)
	}
	return nil
}

// causes names what could not be read, which the API server tells beside its message.
func causes(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	text := ""
	for _, c := range status.Status().Details.Causes {
		text += fmt.Sprintf("; %s: %s", c.Field, c.Message)
	}
	return text
}

func (p *pass) page(ctx context.Context, items []unstructured.Unstructured) {
	var group sync.WaitGroup
	work := make(chan *unstructured.Unstructured)
	for range workers {
		group.Go(func() {
			for object := range work {
				p.one(ctx, object)
			}
		})
	}
	for i := range items {
		work <- &items[i]
	}
	close(work)
	group.Wait()
}

// one writes one object, and notes what came of it. An error is no reason to leave the others as they are.
func (p *pass) one(ctx context.Context, object *unstructured.Unstructured) {
	if ctx.Err() != nil {
		return
	}
	written, err := p.write(ctx, object)
	if written {
		p.written.Add(1)
	}
	if err != nil && ctx.Err() == nil {
		p.failed.Add(1)
		p.mu.Lock()
		if p.first == nil {
			p.first = fmt.Errorf("%s/%s: %w", object.GetNamespace(), object.GetName(), err)
		}
		p.mu.Unlock()
	}
	p.progress.Set(p.label, int(p.done.Add(1)), p.total, fmt.Sprintf("%d written", p.written.Load()))
}

// write writes an object back as it is, and tells whether the plane had to store it.
func (p *pass) write(ctx context.Context, object *unstructured.Unstructured) (written bool, err error) {
	client := p.client.Namespace(object.GetNamespace())
	err = patiently(ctx, func() error {
		answer, err := client.Update(ctx, object, metav1.UpdateOptions{FieldManager: "cellfed-reencrypt"})
		switch {
		case err == nil:
			written = answer.GetResourceVersion() != object.GetResourceVersion()
			return nil
		case apierrors.IsNotFound(err):
			return nil // deleted meanwhile
		case !apierrors.IsConflict(err):
			return err
		}
		// Somebody else wrote it meanwhile, and so with the current key. Whether that is true is asked with what he wrote.
		newer, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		object = newer
		return errAgain
	})
	return written, err
}

// errAgain asks for another attempt.
var errAgain = errors.New("it is changed all the time")

// patiently tries again what may go well the next time.
func patiently(ctx context.Context, try func() error) error {
	end := time.Now().Add(patience)
	for {
		err := try()
		if err == nil || !passing(err) || time.Now().After(end) {
			return err
		}
		if errors.Is(err, errAgain) {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// passing tells whether an error may be gone at the next attempt.
func passing(err error) bool {
	return errors.Is(err, errAgain) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTimeout(err) || apierrors.IsInternalError(err) || utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err)
}
