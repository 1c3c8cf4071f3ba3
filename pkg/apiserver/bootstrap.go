package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"github.com/cellfed/cellfed/pkg/storage"
)

// bootstrapTimeout is how long a plane may take from serving to being ready
// before it is said to have failed.
const bootstrapTimeout = time.Minute

// readiness is the part of /readyz that tells whether the plane has all its
// types and whatever else it starts with.
type readiness struct{ done atomic.Bool }

// Name implements healthz.HealthChecker.
func (r *readiness) Name() string { return "cellfed-bootstrap" }

// Check implements healthz.HealthChecker.
func (r *readiness) Check(*http.Request) error {
	if !r.done.Load() {
		return fmt.Errorf("not finished")
	}
	return nil
}

// tellCompaction answers beside /readyz, and is no part of it: a database that grows
// is somebody's concern, and no reason to take the plane from its users.
func tellCompaction(store storage.Store) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := store.Behind(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok")
	}
}

// bootstrap brings a serving plane to the point where it can be used.
func bootstrap(ctx context.Context, cfg Config, loopback *rest.Config, fingerprints map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	err := inParallel(ctx, []func() error{
		func() error { return recordAgreement(ctx, cfg, loopback, fingerprints) },
		func() error { return ensureRoles(ctx, loopback) },
		func() error { return installCRDs(ctx, loopback, cfg.CRDs) },
		func() error { return waitForNamespaces(ctx, loopback, cfg.Namespaces) },
	})
	if err != nil {
		return err
	}
	for _, f := range cfg.Bootstrap {
		if err := f(ctx, loopback); err != nil {
			return err
		}
	}
	return nil
}

// installCRDs installs all CRDs at once and waits until discovery lists what
// they serve, so that the first kubectl finds it.
func installCRDs(ctx context.Context, loopback *rest.Config, crds []*apiextensionsv1.CustomResourceDefinition) error {
	if len(crds) == 0 {
		return nil
	}
	client, err := apiextensionsclient.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	var work []func() error
	for _, crd := range crds {
		work = append(work, func() error {
			if err := installCRD(ctx, client, crd); err != nil {
				return fmt.Errorf("installing CRD %s: %w", crd.Name, err)
			}
			if err := waitUntilServed(ctx, client, crd); err != nil {
				return fmt.Errorf("waiting for CRD %s: %w", crd.Name, err)
			}
			return nil
		})
	}
	return inParallel(ctx, work)
}

// inParallel does independent work, a few pieces at a time, and returns what
// went wrong. It starts nothing more once ctx has ended.
func inParallel(ctx context.Context, work []func() error) error {
	const atOnce = 16
	errs := make([]error, len(work))
	workqueue.ParallelizeUntil(ctx, atOnce, len(work), func(i int) { errs[i] = work[i]() })
	return errors.Join(append(errs, ctx.Err())...)
}

// installCRD writes a CRD when it is missing or differs.
func installCRD(ctx context.Context, client apiextensionsclient.Interface, want *apiextensionsv1.CustomResourceDefinition) error {
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	for {
		have, err := crds.Get(ctx, want.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = crds.Create(ctx, want, metav1.CreateOptions{})
			if !apierrors.IsAlreadyExists(err) {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		next := merged(have, want)
		if apiequality.Semantic.DeepEqual(have, next) {
			return nil
		}
		if _, err := crds.Update(ctx, next, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			return err
		}
	}
}

// merged is the CRD that is there with the content that is wanted. Labels and
// annotations of others stay, and so does what the API server fills in, without
// which every start would write every CRD.
func merged(have, want *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	next := have.DeepCopy()
	defaulted := want.DeepCopy()
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(defaulted)
	if defaulted.Spec.Conversion == nil {
		defaulted.Spec.Conversion = have.Spec.Conversion
	}
	next.Spec = defaulted.Spec
	if len(want.Labels) > 0 && next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, want.Labels)
	if len(want.Annotations) > 0 && next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	maps.Copy(next.Annotations, want.Annotations)
	return next
}

func waitUntilServed(ctx context.Context, client apiextensionsclient.Interface, crd *apiextensionsv1.CustomResourceDefinition) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = served(ctx, client, crd)
		return last == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// served tells why a CRD is not served yet in all its versions.
func served(ctx context.Context, client apiextensionsclient.Interface, crd *apiextensionsv1.CustomResourceDefinition) error {
	now, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, crd.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	established := false
	for _, c := range now.Status.Conditions {
		if c.Status == apiextensionsv1.ConditionFalse && c.Type == apiextensionsv1.NamesAccepted {
			return fmt.Errorf("its names are not accepted: %s", c.Message)
		}
		established = established || c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	}
	if !established {
		return fmt.Errorf("it is not established")
	}
	for _, v := range crd.Spec.Versions {
		if !v.Served {
			continue
		}
		listed, err := listed(ctx, client.Discovery().RESTClient(), crd.Spec.Group+"/"+v.Name, crd.Spec.Names.Plural)
		if err != nil {
			return err
		}
		if !listed {
			return fmt.Errorf("version %s is not in discovery", v.Name)
		}
	}
	return nil
}

// listed tells whether discovery has a resource. Early on the API server answers
// "come back in five seconds", which clients heed unless told otherwise.
func listed(ctx context.Context, client rest.Interface, groupVersion, plural string) (bool, error) {
	resources := &metav1.APIResourceList{}
	err := client.Get().AbsPath("/apis/" + groupVersion).MaxRetries(0).Do(ctx).Into(resources)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, r := range resources.APIResources {
		if r.Name == plural {
			return true, nil
		}
	}
	return false, nil
}

// waitForNamespaces waits for what the API server makes on its own.
func waitForNamespaces(ctx context.Context, loopback *rest.Config, names []string) error {
	if len(names) == 0 {
		return nil
	}
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	for _, name := range names {
		err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			return err == nil, nil
		})
		if err != nil {
			return fmt.Errorf("waiting for namespace %s: %w", name, err)
		}
	}
	return nil
}
