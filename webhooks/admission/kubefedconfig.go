package admission

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/settings"
)

func (a *Admitter) configRules() rules {
	return rules{
		complete: completeConfig,
		judge: func(obj *unstructured.Unstructured) []fault {
			_, errs := settings.Read(obj.Object["spec"], settings.Settings{Gates: a.base}, settings.Settings{Gates: a.base})
			return byField(errs)
		},
		warn: a.warnConfig,
	}
}

// completeConfig sets the one scope that there is, which KubeFed wants to be said.
func completeConfig(_ context.Context, req *Request) error {
	if spec, ok := req.Object.Object["spec"].(map[string]any); ok {
		setDefault(spec, "scope", "Cluster")
	}
	return nil
}

// warnConfig tells what has no effect, and what it means that a gate is off.
func (a *Admitter) warnConfig(_ context.Context, req *Request) []string {
	if req.Namespace != wellknown.FederationNamespace || req.Object.GetName() != corev1beta1.KubeFedConfigName {
		return []string{fmt.Sprintf("a KubeFedConfig has no effect unless it is %s in namespace %s", corev1beta1.KubeFedConfigName, wellknown.FederationNamespace)}
	}
	var out []string
	if idle := settings.WithoutEffect(req.Object.Object["spec"]); len(idle) != 0 {
		out = append(out, "accepted for KubeFed's sake, without effect here: "+strings.Join(idle, ", "))
	}
	now, _ := settings.Read(req.Object.Object["spec"], settings.Settings{Gates: a.base}, settings.Settings{})
	for _, s := range features.All() {
		if s.Default && !now.Gates.Enabled(s.Gate) {
			out = append(out, fmt.Sprintf("feature gate %s is off: %s", s.Gate, s.Off))
		}
	}
	return out
}

// storedConfig is a KubeFedConfig whose spec is as it is stored: one value of a wrong type must not hide the others.
type storedConfig struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              any `json:"spec"`
}

// Gates implements gateFacts. What cannot be read is as the process was configured.
func (f *LiveFacts) Gates(ctx context.Context, base features.Gates) (features.Gates, error) {
	configs, err := f.configs.list(ctx, wellknown.FederationNamespace)
	if err != nil {
		return base, err
	}
	for _, c := range configs {
		if c.Name == corev1beta1.KubeFedConfigName {
			in := settings.Settings{Gates: base}
			now, _ := settings.Read(c.Spec, in, in)
			return now.Gates, nil
		}
	}
	return base, nil
}
