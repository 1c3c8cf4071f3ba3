package reencrypt

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cellfed/cellfed/pkg/kms"
)

// keyPatience is for how long a plane may take to use its plugin's new key: its library asks once a minute.
const keyPatience = 2 * time.Minute

var (
	// configMetric tells what the API server started with.
	configMetric  = regexp.MustCompile(`(?m)^apiserver_encryption_config_controller_last_config_info\{.*hash="(sha256:[0-9a-f]+)"\} 1$`)
	pendingMetric = regexp.MustCompile(`(?m)^` + kms.MetricPending + `\{provider="(.*)"\} 1$`)
)

func (r *runner) connect() error {
	config := rest.CopyConfig(r.Config)
	config.QPS = -1 // the number of workers is the limit
	var err error
	if r.client, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	r.raw = client.Discovery().RESTClient()
	return nil
}

// current waits until the plane uses its plugin's current key, and tells which configuration the plane has started with, and
// whether it had to wait.
func (r *runner) current(ctx context.Context) (hash string, waited bool, err error) {
	end := time.Now().Add(keyPatience)
	for {
		// The check looks at the plugins, so that the metrics are of now. A plane without one has no such check.
		_, err := r.raw.Get().AbsPath("/readyz/kms-providers").DoRaw(ctx)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return "", waited, fmt.Errorf("asking the plane for its KMS: %w", err)
		}
		metrics, err := r.raw.Get().AbsPath("/metrics").DoRaw(ctx)
		if err != nil {
			return "", waited, fmt.Errorf("asking the plane for how it encrypts: %w", err)
		}
		loaded := configMetric.FindSubmatch(metrics)
		if loaded == nil {
			return "", waited, errors.New("the plane does not tell how it encrypts")
		}
		pending := pendingMetric.FindSubmatch(metrics)
		if pending == nil {
			return string(loaded[1]), waited, nil
		}
		if time.Now().After(end) {
			return "", waited, fmt.Errorf("the plane does not use the current key of KMS %s after %s: its log tells why", pending[1], keyPatience)
		}
		waited = true
		r.Progress.Set(fmt.Sprintf("waiting until the plane uses the current key of KMS %s", pending[1]), 0, 0, "")
		select {
		case <-ctx.Done():
			return "", waited, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// resolve finds the version in which objects are written back. For custom resources that is the stored one, in which nothing
// is converted.
func (r *runner) resolve(ctx context.Context, resource string) (gvr schema.GroupVersionResource, there bool, err error) {
	gr := schema.ParseGroupResource(resource)
	if !strings.Contains(gr.Group, ".") {
		return gr.WithVersion("v1"), true, nil
	}
	definitions := r.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	definition, err := definitions.Get(ctx, resource, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return gvr, false, nil
	}
	if err != nil {
		return gvr, false, fmt.Errorf("reading the definition of %s: %w", resource, err)
	}
	versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
	if err != nil {
		return gvr, false, fmt.Errorf("reading the definition of %s: %w", resource, err)
	}
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version["storage"] == true {
			name, _ := version["name"].(string)
			return gr.WithVersion(name), true, nil
		}
	}
	return gvr, false, fmt.Errorf("reading the definition of %s: it has no stored version", resource)
}
