package admission

import (
	"context"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	kubefedv1beta1 "sigs.k8s.io/kubefed/pkg/apis/core/v1beta1"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/topology"
)

var (
	endpointSchemes = []string{"http", "https"}
	proxySchemes    = []string{"http", "https", "socks5"}
	tlsValidations  = []string{string(kubefedv1beta1.TLSAll), string(kubefedv1beta1.TLSSubjectName), string(kubefedv1beta1.TLSValidityPeriod)}
)

func (a *Admitter) clusterRules() rules {
	return rules{judge: judgeCluster, compare: a.compareCluster, warn: func(ctx context.Context, req *Request) []string {
		return append(warnNamespace(req, "KubeFedCluster"), a.warnTwin(ctx, req)...)
	}}
}

// warnTwin warns of a member that is another member already: what is placed in both is written twice. Facts that cannot
// be read warn of nothing.
func (a *Admitter) warnTwin(ctx context.Context, req *Request) []string {
	if req.Namespace != wellknown.FederationNamespace { // units share their member's endpoint
		return nil
	}
	if req.Old != nil && reflect.DeepEqual(req.Old.Object["spec"], req.Object.Object["spec"]) {
		return nil
	}
	id := req.Object.GetAnnotations()[wellknown.ClusterIDAnnotation]
	endpoint, _, _ := unstructured.NestedString(req.Object.Object, "spec", "apiEndpoint")
	if _, tunnelled, _ := unstructured.NestedMap(req.Object.Object, "spec", "tunnel"); tunnelled {
		endpoint = "" // it is the same in every member
	}
	all, err := a.facts.Clusters(ctx)
	if err != nil {
		return nil
	}
	for _, other := range all {
		if other.Name != req.Object.GetName() && (id != "" && other.ID == id || (id == "" || other.ID == "") && endpoint != "" && other.Endpoint == endpoint) {
			return []string{fmt.Sprintf("this is the same cluster as member %s: what is placed in both members is written twice; one cluster should have one name", other.Name)}
		}
	}
	return nil
}

// warnNamespace warns of what nobody reads.
func warnNamespace(req *Request, kind string) []string {
	if req.Namespace == wellknown.FederationNamespace || req.Namespace == wellknown.UnitsNamespace {
		return nil
	}
	return []string{fmt.Sprintf("a %s has no effect outside namespace %s", kind, wellknown.FederationNamespace)}
}

// judgeCluster judges what a connection to a member is made from. The rules are KubeFed's, and that names are short
// enough for claims.
func judgeCluster(obj *unstructured.Unstructured) []fault {
	cluster := &corev1beta1.KubeFedCluster{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, cluster); err != nil {
		return []fault{newFault("shape", field.Invalid(specPath, nil, err.Error()))}
	}
	var errs field.ErrorList
	if cluster.Namespace == wellknown.FederationNamespace && cluster.Name != "" {
		for _, p := range topology.ValidateClusterName(cluster.Name) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), cluster.Name, p))
		}
	}
	errs = append(errs, judgeEndpoint(cluster.Spec.APIEndpoint, specPath.Child("apiEndpoint"))...)
	secret := specPath.Child("secretRef", "name")
	if name := cluster.Spec.SecretRef.Name; name == "" {
		errs = append(errs, field.Required(secret, "say which secret holds the credentials for the member"))
	} else {
		for _, p := range validation.IsDNS1123Subdomain(name) {
			errs = append(errs, field.Invalid(secret, name, p))
		}
	}
	errs = append(errs, judgeProxy(cluster.Spec.ProxyURL, specPath.Child("proxyURL"))...)
	if cluster.Spec.Tunnel != nil && cluster.Spec.ProxyURL != "" {
		errs = append(errs, field.Forbidden(specPath.Child("proxyURL"), "a member behind a tunnel is reached through its agents: remove spec.proxyURL, or spec.tunnel"))
	}
	errs = append(errs, judgeTLS(cluster.Spec.DisabledTLSValidations, specPath.Child("disabledTLSValidations"))...)
	errs = append(errs, judgeGrants(cluster.Spec.Grants, specPath.Child("grants"))...)
	return byField(errs)
}

// byField makes faults of errors whose paths name what they are about.
func byField(errs field.ErrorList) []fault {
	faults := make([]fault, 0, len(errs))
	for _, err := range errs {
		faults = append(faults, newFault(err.Error(), err))
	}
	return faults
}

func judgeEndpoint(endpoint string, at *field.Path) field.ErrorList {
	if endpoint == "" {
		return field.ErrorList{field.Required(at, "say where the member's API server is, as in https://10.0.0.1:6443")}
	}
	// The connection reads the endpoint with the same function.
	u, _, err := rest.DefaultServerURL(endpoint, "", schema.GroupVersion{}, true)
	if err != nil {
		return field.ErrorList{field.Invalid(at, endpoint, err.Error())}
	}
	var errs field.ErrorList
	if !slices.Contains(endpointSchemes, u.Scheme) {
		errs = append(errs, field.Invalid(at, endpoint, "must be a host, a host and port, or a URL starting with http:// or https://"))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || len(validation.IsValidPortNum(n)) != 0 {
			errs = append(errs, field.Invalid(at, endpoint, "the port must be between 1 and 65535"))
		}
	}
	return errs
}

func judgeProxy(proxy string, at *field.Path) field.ErrorList {
	if proxy == "" {
		return nil
	}
	u, err := url.Parse(proxy)
	if err != nil || !slices.Contains(proxySchemes, u.Scheme) || u.Host == "" {
		// A proxy's URL may hold a password: it is not said again.
		return field.ErrorList{field.Invalid(at, "(not shown)", "must be a URL with one of the schemes "+strings.Join(proxySchemes, ", "))}
	}
	return nil
}

func judgeTLS(off []kubefedv1beta1.TLSValidation, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range off {
		if !slices.Contains(tlsValidations, string(v)) {
			errs = append(errs, field.NotSupported(at.Index(i), string(v), tlsValidations))
		}
	}
	if slices.Contains(off, kubefedv1beta1.TLSAll) && len(off) > 1 {
		errs = append(errs, field.Invalid(at, off, "* stands for all of them: leave it alone in the list, or take it out"))
	}
	return errs
}
