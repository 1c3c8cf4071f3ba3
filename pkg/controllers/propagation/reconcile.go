package propagation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"k8s.io/klog/v2"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/apply"
	"github.com/cellfed/cellfed/pkg/federated"
	"github.com/cellfed/cellfed/pkg/plan"
	"github.com/cellfed/cellfed/pkg/report"
)

// errAgain asks for another look soon: the object or a member changed under our hands, and the next look sees it.
var errAgain = errors.New("changed meanwhile")

// transient tells errors that the next look heals from those that people should read.
func transient(err error) bool {
	return errors.Is(err, errAgain) || apierrors.IsConflict(err) || errors.Is(err, context.Canceled)
}

// Reconcile brings every member to what one federated object asks for, and tells the object what it found. It returns
// after what time the object should be looked at again, if nothing happens before; 0 = not by itself.
func (k *carrier) Reconcile(ctx context.Context, key objectKey) (time.Duration, error) {
	stored, err := k.load(key)
	if err != nil {
		return 0, err
	}
	if stored == nil {
		k.forget(key)
		return 0, nil
	}
	object := federated.Read(stored)
	if object.Deleting && !object.HasFinalizer {
		return 0, nil // others' finalizers; ours has done its part
	}
	if k.typ.OnlyDeletions && !object.Deleting {
		return 0, nil
	}
	facts, err := k.gather(ctx, object) // reads only
	if err != nil {
		return 0, fmt.Errorf("gathering what concerns %s: %w", key, err)
	}
	p, err := k.plan(ctx, facts.input) // thinks only
	if err != nil {
		return 0, fmt.Errorf("looking up revisions of %s: %w", key, err)
	}
	recorded, made, err := k.record(ctx, key, stored, object, &p) // durable before the first write
	if err != nil {
		return 0, fmt.Errorf("recording what %s is about to do: %w", key, err)
	}
	if recorded != stored {
		object = federated.Read(recorded)
	}
	results := k.exec.Do(ctx, k.ledgerKey(key), k.typ.Target, &p, k.connect(&p)) // writes only
	k.namespacesMade(key, &p, results)
	for _, e := range report.Deeds(report.Input{Object: object, Plan: &p, Results: results}) {
		k.tell(recorded, e)
	}
	if err := k.commit(ctx, key, recorded, object, &p, results); err != nil {
		return 0, fmt.Errorf("reporting on %s: %w", key, err)
	}
	if err := k.noteVersions(ctx, key, recorded, object, &p, results); err != nil {
		return 0, fmt.Errorf("noting the versions of %s: %w", key, err)
	}
	if slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Dropped(results[s.Unit]) }) {
		k.left()
	}
	if made {
		if err := k.prune(ctx, object, &p); err != nil { // history that is a little too long does no harm
			klog.FromContext(ctx).V(1).Info("Pruning revisions failed", "object", key.String(), "err", err)
		}
	}
	if k.noteWaiting(key, &p) && (facts.retryAfter == 0 || facts.retryAfter > occupiedPause) {
		facts.retryAfter = occupiedPause
	}
	return k.again(&p, results, facts)
}

// plan computes, and fetches the contents of revisions that the computation asks for.
func (k *carrier) plan(ctx context.Context, in plan.Input) (plan.Plan, error) {
	p := plan.Compute(in)
	for len(p.Missing) > 0 {
		if in.Contents == nil {
			in.Contents = map[string]*federated.Content{}
		}
		for _, revision := range p.Missing {
			content, err := k.content(ctx, in.Object, revision)
			if err != nil {
				return plan.Plan{}, err
			}
			in.Contents[revision] = content
		}
		p = plan.Compute(in)
	}
	p, err := k.withLiveNamespace(ctx, &in, p)
	if err != nil {
		return plan.Plan{}, err
	}
	p, err = k.withOccupants(ctx, &in, p)
	if err != nil {
		return plan.Plan{}, err
	}
	return k.withHistory(ctx, in, p)
}

// connect gives connections to the clusters that a plan was made for.
func (k *carrier) connect(p *plan.Plan) func(name string) (apply.Connection, error) {
	return func(name string) (apply.Connection, error) {
		m, err := k.opts.Fleet.Member(name)
		if err != nil {
			return nil, err
		}
		for i := range p.Steps {
			if p.Steps[i].Member != name {
				continue
			}
			if err := sameCluster(m, p.Steps[i].MemberID); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
}

// foreignPause is how often an object that no watch shows is looked for: one that the plane did not make.
const foreignPause = time.Minute + 5*time.Second

// again says when to look again. Calls still under way and members that cannot be reached are no reason: their answer,
// or their return, is an event.
func (k *carrier) again(p *plan.Plan, results map[string]plan.Result, facts gathered) (time.Duration, error) {
	after := time.Duration(0)
	sooner := func(d time.Duration) {
		if after == 0 || d < after {
			after = d
		}
	}
	if facts.retryAfter > 0 {
		sooner(facts.retryAfter)
	}
	for i := range p.Steps {
		step := &p.Steps[i]
		switch results[step.Unit].Outcome {
		case plan.Stale, plan.Found:
			return 0, errAgain
		case plan.Gone:
			if step.Placed {
				return 0, errAgain
			}
		case plan.Failed:
			sooner(time.Second)
		}
		if step.Observed != nil && step.Observed.GetLabels()[wellknown.ManagedLabel] != wellknown.ManagedTrue {
			sooner(foreignPause)
		}
	}
	return after, nil
}

// commit tells the object what was found: the one status write, or the end of the finalizer when nothing is left.
func (k *carrier) commit(ctx context.Context, key objectKey, stored *unstructured.Unstructured, object *federated.Object,
	p *plan.Plan, results map[string]plan.Result,
) error {
	if object.Deleting && p.Finished(results) {
		return k.release(ctx, key, stored)
	}
	in := report.Input{Object: object, Plan: p, Results: results, Now: k.now(), CollectStatus: k.collects(), Health: k.judgesHealth()}
	status, events := report.Status(in)
	k.meter.told(key, object, p, status)
	if same(stored.Object["status"], status) {
		return nil
	}
	if wait := k.pacer.wait(k.ledgerKey(key), stored.Object["status"], status, k.opts.Now()); wait > 0 {
		k.queue.AddAfter(key, wait)
		return nil
	}
	if _, err := k.writeStatus(ctx, key, stored, status); err != nil {
		return err
	}
	k.pacer.wrote(k.ledgerKey(key), k.opts.Now())
	for _, e := range events {
		k.tell(stored, e)
	}
	return nil
}

func (k *carrier) now() string { return k.opts.Now().UTC().Format(time.RFC3339) }
