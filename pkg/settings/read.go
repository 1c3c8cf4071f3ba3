package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/features"
)

// Read is what a KubeFedConfig's spec asks for on top of base, which is what the process was configured with. Values
// that cannot be read are told, and what last says stays in their place.
func Read(spec any, base, last Settings) (Settings, field.ErrorList) {
	r := &reader{last: last}
	next := base
	at := field.NewPath("spec")
	root, ok := r.section(spec, at)
	if !ok {
		return last, r.errs
	}
	r.scope(root, at)
	r.health(root, at.Child("clusterHealthCheck"), &next.Health)
	r.sync(root, at.Child("syncController"), &next)
	r.choice(root, "namespacePlacement", at.Child("namespacePlacement"), "Lenient", "Strict", &next.StrictNamespaces, last.StrictNamespaces)
	r.gates(root["featureGates"], at.Child("featureGates"), &next.Gates)
	return next, r.errs
}

// WithoutEffect are the fields of a KubeFedConfig's spec that the plane accepts, and does nothing with.
func WithoutEffect(spec any) []string {
	root, _ := spec.(map[string]any)
	var out []string
	for _, name := range []string{"controllerDuration", "leaderElect", "statusController"} {
		if root[name] != nil {
			out = append(out, field.NewPath("spec", name).String())
		}
	}
	list, _ := root["featureGates"].([]any)
	for i, e := range list {
		if entry, _ := e.(map[string]any); entry["name"] == string(features.SchedulerPreferences) {
			out = append(out, field.NewPath("spec", "featureGates").Index(i).String()+" ("+string(features.SchedulerPreferences)+")")
		}
	}
	return out
}

// reader collects what could not be read.
type reader struct {
	last Settings
	errs field.ErrorList
}

func (r *reader) tell(err *field.Error) { r.errs = append(r.errs, err) }

// section reads an object; one that is not there is an empty one.
func (r *reader) section(raw any, at *field.Path) (map[string]any, bool) {
	if raw == nil {
		return nil, true
	}
	m, ok := raw.(map[string]any)
	if !ok {
		r.tell(field.TypeInvalid(at, raw, "must be an object"))
	}
	return m, ok
}

func (r *reader) scope(root map[string]any, at *field.Path) {
	switch root["scope"] {
	case nil, "", "Cluster":
	case "Namespaced":
		r.tell(field.NotSupported(at.Child("scope"), "Namespaced", []string{"Cluster"}))
	default:
		r.tell(field.NotSupported(at.Child("scope"), fmt.Sprint(root["scope"]), []string{"Cluster"}))
	}
}

func (r *reader) health(root map[string]any, at *field.Path, next *Health) {
	m, ok := r.section(root["clusterHealthCheck"], at)
	if !ok {
		*next = r.last.Health
		return
	}
	was := r.last.Health
	r.duration(m["period"], at.Child("period"), &next.Period, was.Period)
	r.duration(m["timeout"], at.Child("timeout"), &next.Timeout, was.Timeout)
	r.count(m["failureThreshold"], at.Child("failureThreshold"), mostResults, &next.FailureThreshold, was.FailureThreshold)
	r.count(m["successThreshold"], at.Child("successThreshold"), mostResults, &next.SuccessThreshold, was.SuccessThreshold)
}

func (r *reader) sync(root map[string]any, at *field.Path, next *Settings) {
	m, ok := r.section(root["syncController"], at)
	if !ok {
		next.Workers, next.AdoptByDefault = r.last.Workers, r.last.AdoptByDefault
		return
	}
	r.count(m["maxConcurrentReconciles"], at.Child("maxConcurrentReconciles"), mostWorkers, &next.Workers, r.last.Workers)
	r.choice(m, "adoptResources", at.Child("adoptResources"), "Disabled", "Enabled", &next.AdoptByDefault, r.last.AdoptByDefault)
}

// choice reads one of two words into a switch.
func (r *reader) choice(in map[string]any, key string, at *field.Path, off, on string, next *bool, was bool) {
	switch in[key] {
	case nil, "":
	case off:
		*next = false
	case on:
		*next = true
	default:
		*next = was
		r.tell(field.NotSupported(at, fmt.Sprint(in[key]), []string{off, on}))
	}
}

func (r *reader) duration(raw any, at *field.Path, next *time.Duration, was time.Duration) {
	if raw == nil {
		return
	}
	text, ok := raw.(string)
	d, err := time.ParseDuration(text)
	switch {
	case !ok || err != nil:
		*next = was
		r.tell(field.Invalid(at, raw, "must be a duration like 10s or 1m30s"))
	case d < shortest:
		*next = was
		r.tell(field.Invalid(at, text, fmt.Sprintf("must be at least %s", shortest)))
	default:
		*next = d
	}
}

func (r *reader) count(raw any, at *field.Path, most int64, next *int, was int) {
	if raw == nil {
		return
	}
	n, ok := raw.(int64)
	if !ok || n < 1 || n > most {
		*next = was
		r.tell(field.Invalid(at, raw, fmt.Sprintf("must be a whole number between 1 and %d", most)))
		return
	}
	*next = int(n)
}

func (r *reader) gates(raw any, at *field.Path, next *features.Gates) {
	if raw == nil {
		return
	}
	list, ok := raw.([]any)
	if !ok {
		*next = r.last.Gates
		r.tell(field.TypeInvalid(at, raw, "must be a list of gates with name and configuration"))
		return
	}
	var seen []string
	for i, e := range list {
		entry, _ := e.(map[string]any)
		name, ok := entry["name"].(string)
		switch {
		case !ok:
			r.tell(field.Required(at.Index(i).Child("name"), "say which gate is meant: "+strings.Join(features.Names(), ", ")))
		case slices.Contains(seen, name):
			r.tell(field.Duplicate(at.Index(i).Child("name"), name))
		default:
			seen = append(seen, name)
			r.gate(name, entry["configuration"], at.Index(i), next)
		}
	}
}

func (r *reader) gate(name string, configuration any, at *field.Path, next *features.Gates) {
	on := configuration == "Enabled"
	if !on && configuration != "Disabled" {
		on = r.last.Gates.Enabled(features.Gate(name))
		r.tell(field.NotSupported(at.Child("configuration"), fmt.Sprint(configuration), []string{"Enabled", "Disabled"}))
	}
	var err error
	var unknown *features.UnknownError
	if *next, err = next.With(name, on); errors.As(err, &unknown) {
		r.tell(field.NotSupported(at.Child("name"), name, features.Names()))
	}
}
