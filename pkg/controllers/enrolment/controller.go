package enrolment

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	rules "github.com/cellfed/cellfed/proxy/enrolment"
	"github.com/cellfed/cellfed/proxy/identity"
)

const (
	// conflictPause lets the cache catch up with a write that came in between.
	conflictPause = 50 * time.Millisecond
	// kept is how long a request stays after its end, so that the agent, or whoever looks why it has no certificate, finds
	// the answer.
	kept = time.Hour
	// forsaken is when a request goes that nobody could answer.
	forsaken = 24 * time.Hour
	// sweep is how often expired tokens are looked for.
	sweep = 10 * time.Minute
)

// What conditions of requests say.
const (
	reasonApproved    = "EnrolmentRules"
	reasonNotSignable = "NotSignable"
)

// Options are what the controller works with.
type Options struct {
	// CertFile and KeyFile are the authority that signs. They are read for each certificate.
	CertFile, KeyFile string
	// Logger is the plane's own: controller-runtime's is turned down.
	Logger logr.Logger
	// Now is the clock; nil is the real one.
	Now func() time.Time
}

// Controller answers the requests.
type Controller struct {
	client client.Client
	// live reads what decides past the cache: a member that was joined a moment ago is there.
	live client.Reader
	opts Options
}

// New returns a controller.
func New(c client.Client, live client.Reader, opts Options) *Controller {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Controller{client: c, live: live, opts: opts}
}

// SetupWithManager makes mgr run the controller.
func (c *Controller) SetupWithManager(mgr ctrl.Manager) error {
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool {
		csr, ok := o.(*certificatesv1.CertificateSigningRequest)
		return ok && csr.Spec.SignerName == identity.SignerName
	})
	if err := mgr.Add(manager.RunnableFunc(c.sweepTokens)); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("enrolment").
		For(&certificatesv1.CertificateSigningRequest{}, builder.WithPredicates(ours)).
		Complete(c)
}

// Reconcile takes one request one step further.
func (c *Controller) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	csr := &certificatesv1.CertificateSigningRequest{}
	if err := c.client.Get(ctx, req.NamespacedName, csr); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if csr.Spec.SignerName != identity.SignerName || csr.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	if wait, gone, err := c.clear(ctx, csr); gone || err != nil || ended(csr) {
		return reconcile.Result{RequeueAfter: wait}, err
	}
	var err error
	if condition(csr, certificatesv1.CertificateApproved) == nil {
		err = c.decide(ctx, csr)
	} else {
		err = c.sign(ctx, csr)
	}
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

// decide approves or denies.
func (c *Controller) decide(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	request, refusal := rules.Read(csr.Spec)
	if refusal != nil {
		return c.deny(ctx, csr, refusal)
	}
	facts, err := c.facts(ctx, request, csr.Spec)
	if err != nil {
		return err
	}
	verdict := rules.Review(request, csr.Spec, facts)
	if verdict.Refusal != nil {
		return c.deny(ctx, csr, verdict.Refusal)
	}
	if verdict.Bind {
		// A conflict is another request by the same token, or a change of the token: all is judged anew.
		token := facts.Token.DeepCopy()
		token.Data = maps.Clone(token.Data)
		token.Data[identity.TokenPublicKey] = []byte(request.Fingerprint)
		if err := c.client.Update(ctx, token); err != nil {
			return fmt.Errorf("binding token %s to its first key: %w", token.Name, err)
		}
	}
	if err := c.conclude(ctx, csr, certificatesv1.CertificateApproved, reasonApproved, "an agent of "+request.Identity.String()); err != nil {
		return err
	}
	c.opts.Logger.Info("Approved the certificate of an agent", "request", csr.Name, "agent", request.Identity.String(), "requester", csr.Spec.Username)
	return nil
}

// facts reads what a request is judged by, past the cache.
func (c *Controller) facts(ctx context.Context, r rules.Request, spec certificatesv1.CertificateSigningRequestSpec) (rules.Facts, error) {
	facts := rules.Facts{Now: c.opts.Now()}
	if name, ok := rules.TokenName(spec); ok {
		token := &corev1.Secret{}
		switch err := c.live.Get(ctx, types.NamespacedName{Namespace: rules.TokenNamespace, Name: name}, token); {
		case err == nil:
			facts.Token = token
		case !apierrors.IsNotFound(err):
			return rules.Facts{}, fmt.Errorf("reading token %s: %w", name, err)
		}
	}
	cluster := &corev1beta1.KubeFedCluster{}
	switch err := c.live.Get(ctx, types.NamespacedName{Namespace: wellknown.FederationNamespace, Name: r.Identity.Cluster}, cluster); {
	case err == nil:
		facts.Cluster = cluster
	case !apierrors.IsNotFound(err):
		return rules.Facts{}, fmt.Errorf("reading KubeFedCluster %s: %w", r.Identity.Cluster, err)
	}
	return facts, nil
}

func (c *Controller) deny(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, refusal *rules.Refusal) error {
	if err := c.conclude(ctx, csr, certificatesv1.CertificateDenied, refusal.Reason, refusal.Message); err != nil {
		return err
	}
	c.opts.Logger.Info("Denied the certificate of an agent", "request", csr.Name, "requester", csr.Spec.Username, "reason", refusal.Reason, "message", refusal.Message)
	return nil
}

// conclude writes a decision.
func (c *Controller) conclude(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, what certificatesv1.RequestConditionType, reason, message string) error {
	next := csr.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, c.newCondition(what, reason, message))
	if err := c.client.SubResource("approval").Update(ctx, next); err != nil {
		return fmt.Errorf("writing the decision on request %s: %w", csr.Name, err)
	}
	return nil
}

func (c *Controller) newCondition(what certificatesv1.RequestConditionType, reason, message string) certificatesv1.CertificateSigningRequestCondition {
	now := metav1.NewTime(c.opts.Now())
	return certificatesv1.CertificateSigningRequestCondition{
		Type: what, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now,
	}
}

// sign answers an approved request, whoever approved it.
func (c *Controller) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	next := csr.DeepCopy()
	request, refusal := rules.Read(csr.Spec)
	if refusal == nil {
		authority, err := readAuthority(c.opts.CertFile, c.opts.KeyFile)
		if err != nil {
			return err
		}
		certificate, err := authority.sign(request, c.opts.Now())
		if err != nil {
			refusal = &rules.Refusal{Reason: reasonNotSignable, Message: err.Error()}
		}
		next.Status.Certificate = certificate
	}
	if refusal != nil {
		next.Status.Conditions = append(next.Status.Conditions, c.newCondition(certificatesv1.CertificateFailed, refusal.Reason, refusal.Message))
		c.opts.Logger.Info("Could not sign the certificate of an agent", "request", csr.Name, "reason", refusal.Reason, "message", refusal.Message)
	}
	if err := c.client.Status().Update(ctx, next); err != nil {
		return fmt.Errorf("writing the certificate of request %s: %w", csr.Name, err)
	}
	return nil
}

// clear deletes a request whose time is over. Otherwise it tells when that is.
func (c *Controller) clear(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) (wait time.Duration, gone bool, err error) {
	wait = goes(csr).Sub(c.opts.Now())
	if wait > 0 {
		return wait, false, nil
	}
	err = c.client.Delete(ctx, csr, client.Preconditions{UID: &csr.UID, ResourceVersion: &csr.ResourceVersion})
	if apierrors.IsConflict(err) {
		return conflictPause, true, nil
	}
	if err := client.IgnoreNotFound(err); err != nil {
		return 0, true, fmt.Errorf("deleting request %s: %w", csr.Name, err)
	}
	return 0, true, nil
}

// goes is when a request has been there for long enough.
func goes(csr *certificatesv1.CertificateSigningRequest) time.Time {
	if !ended(csr) {
		return csr.CreationTimestamp.Add(forsaken)
	}
	last := csr.CreationTimestamp.Time
	for _, condition := range csr.Status.Conditions {
		if at := condition.LastUpdateTime.Time; at.After(last) {
			last = at
		}
	}
	return last.Add(kept)
}

// ended tells whether a request got its answer.
func ended(csr *certificatesv1.CertificateSigningRequest) bool {
	return len(csr.Status.Certificate) > 0 || condition(csr, certificatesv1.CertificateDenied) != nil || condition(csr, certificatesv1.CertificateFailed) != nil
}

func condition(csr *certificatesv1.CertificateSigningRequest, what certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range csr.Status.Conditions {
		if csr.Status.Conditions[i].Type == what {
			return &csr.Status.Conditions[i]
		}
	}
	return nil
}

// sweepTokens deletes expired tokens of agents until ctx ends. Nothing else of Kubernetes does where there is no
// kube-controller-manager.
func (c *Controller) sweepTokens(ctx context.Context) error {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		if err := c.sweepOnce(ctx); err != nil && ctx.Err() == nil {
			c.opts.Logger.Error(err, "Could not clear away expired tokens of agents; the next attempt follows", "interval", sweep)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Controller) sweepOnce(ctx context.Context) error {
	var tokens corev1.SecretList
	if err := c.live.List(ctx, &tokens, client.InNamespace(rules.TokenNamespace), client.MatchingFields{"type": string(corev1.SecretTypeBootstrapToken)}); err != nil {
		return fmt.Errorf("listing tokens: %w", err)
	}
	for i := range tokens.Items {
		token := &tokens.Items[i]
		if !rules.Spent(token, c.opts.Now()) {
			continue
		}
		err := c.client.Delete(ctx, token, client.Preconditions{UID: &token.UID, ResourceVersion: &token.ResourceVersion})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting token %s: %w", token.Name, err)
		}
	}
	return nil
}
