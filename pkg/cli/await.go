package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/kubefed/pkg/apis/core/common"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

const (
	pollPeriod = 200 * time.Millisecond
	// makingPatience is how long a member may take to fill a token secret, or to let go of what is in the way, where the
	// user does not say it.
	makingPatience = 30 * time.Second
)

// patience is how long to wait for what must be there before the rest can be made.
func (o *joinOptions) patience() time.Duration {
	if o.wait == 0 {
		return makingPatience
	}
	return o.wait
}

// ensureWhenFree makes an artefact as soon as an object of its name that is being deleted is gone. Unjoin deletes a
// namespace that takes seconds to go, and a member may join again at once.
func (o *joinOptions) ensureWhenFree(ctx context.Context, where string, c *cluster, a artefact) (result outcome, err error) {
	said := false
	pollErr := wait.PollUntilContextTimeout(ctx, pollPeriod, o.patience(), true, func(ctx context.Context) (bool, error) {
		result, err = ensure(ctx, c, a)
		if !errors.Is(err, errGoing) {
			return true, err
		}
		if !said {
			said = true
			o.say("%s: waiting for %s to be gone: it is being deleted", where, a)
		}
		return false, nil
	})
	if timedOut(ctx, pollErr) && errors.Is(err, errGoing) {
		return "", fmt.Errorf("%w, and was still there after %s: join again when it is gone", err, o.patience())
	}
	return result, pollErr
}

// awaitToken waits until the member has filled the token secret.
func (o *joinOptions) awaitToken(ctx context.Context) (token, ca []byte, err error) {
	said := false
	err = wait.PollUntilContextTimeout(ctx, pollPeriod, o.patience(), true, func(ctx context.Context) (bool, error) {
		secret, err := get[corev1.Secret](ctx, o.member, secrets, wellknown.FederationNamespace, accountName(o.name))
		if err != nil {
			return false, err
		}
		if secret != nil {
			token, ca = secret.Data[corev1.ServiceAccountTokenKey], secret.Data[corev1.ServiceAccountRootCAKey]
		}
		if len(token) == 0 && !said {
			said = true
			o.say("member: waiting for the token")
		}
		return len(token) > 0, nil
	})
	if timedOut(ctx, err) {
		return nil, nil, fmt.Errorf("the member issued no token within %s: is its kube-controller-manager running?", o.patience())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("waiting for the member's token: %w", err)
	}
	return token, ca, nil
}

// awaitReady waits until the plane says that the member is ready, and tells what it says meanwhile.
func (o *joinOptions) awaitReady(ctx context.Context) error {
	if o.wait == 0 {
		return nil
	}
	start := time.Now()
	last := ""
	err := wait.PollUntilContextTimeout(ctx, pollPeriod, o.wait, true, func(ctx context.Context) (bool, error) {
		kfc, err := get[corev1beta1.KubeFedCluster](ctx, o.plane, kubeFedClusters, wellknown.FederationNamespace, o.name)
		if err != nil {
			return false, err
		}
		if kfc == nil {
			return false, fmt.Errorf("KubeFedCluster %s was deleted meanwhile", o.name)
		}
		ready, says := readiness(kfc)
		if ready {
			o.say("plane: member %s is ready after %s", o.name, time.Since(start).Round(time.Millisecond))
			return true, nil
		}
		if says != last {
			last = says
			o.say("plane: waiting for member %s: %s", o.name, says)
		}
		return false, nil
	})
	if timedOut(ctx, err) {
		return fmt.Errorf("member %s is joined, and was not ready within %s: %s", o.name, o.wait, last)
	}
	if err != nil {
		return fmt.Errorf("waiting for member %s: %w", o.name, err)
	}
	return nil
}

// readiness is a member's Ready condition, in words.
func readiness(k *corev1beta1.KubeFedCluster) (ready bool, says string) {
	for _, c := range k.Status.Conditions {
		if c.Type != common.ClusterReady {
			continue
		}
		says = "Ready=" + string(c.Status)
		if c.Reason != nil {
			says += " " + *c.Reason
		}
		if c.Message != nil && *c.Message != "" {
			says += ": " + *c.Message
		}
		return c.Status == corev1.ConditionTrue, says
	}
	return false, "not checked yet"
}

// timedOut tells running out of our own patience from being interrupted, and from an API server's own time-outs.
func timedOut(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !apierrors.IsTimeout(err)
}
