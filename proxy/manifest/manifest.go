package manifest

import (
	"bytes"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// Names of what stands in a member.
const (
	// Namespace is the agent's own.
	Namespace = "cellfed-agent"
	// Name is that of the agent's ServiceAccount, Deployment, Role and RoleBinding.
	Name = "cellfed-agent"
	// EnrolmentSecret has the bootstrap token and whom to trust. Joining anew replaces it.
	EnrolmentSecret = "cellfed-agent-enrolment"
	// StateSecret has the agent's key and certificate. It is made empty, and applying it again changes nothing in it.
	StateSecret = "cellfed-agent-state"

	mountPath   = "/etc/cellfed-agent"
	tokenKey    = "token"
	caKey       = "ca.crt"
	serverCAKey = "server-ca.crt"
	healthPort  = 8092
	nobody      = 65532
)

// Agent says which agent to make.
type Agent struct {
	// Image has the agent as its entry point.
	Image string
	// Servers are the plane's proxy servers, host:port, and Plane the URL of its API server.
	Servers []string
	Plane   string
	// CA are the certificates of whom to trust, in PEM, and ServerCA those for the proxy servers, when they are others.
	CA, ServerCA []byte
	// ServerName is the name in the proxy servers' certificates, when it is not their host.
	ServerName string
	// Cluster and Enrolment are who the agent is, and Token is what it gets its first certificate with.
	Cluster, Enrolment, Token string
	// MemberEndpoint is the URL of the member's API server as its KubeFedCluster says it; empty for
	// https://kubernetes.default.svc.
	MemberEndpoint string
	// Replicas is how many agents there are; 0 is one.
	Replicas int32
	// DeliverSecret is NAMESPACE/NAME of the Secret at the plane to bring the token of DeliverTokenSecret to: a Secret of
	// the type kubernetes.io/service-account-token in the agent's namespace, which is not made here.
	DeliverSecret, DeliverTokenSecret string
	// Labels stand on all objects.
	Labels map[string]string
}

func (a Agent) validate() error {
	for what, missing := range map[string]bool{
		"the agent's image": a.Image == "", "a proxy server": len(a.Servers) == 0, "the plane's URL": a.Plane == "", "whom to trust": len(a.CA) == 0,
		"the cluster": a.Cluster == "", "the enrolment": a.Enrolment == "", "the bootstrap token": a.Token == "",
	} {
		if missing {
			return fmt.Errorf("making the agent's objects: %s is missing", what)
		}
	}
	if (a.DeliverSecret == "") != (a.DeliverTokenSecret == "") {
		return errors.New("making the agent's objects: what to bring and where to go together")
	}
	return nil
}

// Args are the command line of the agent.
func (a Agent) Args() []string {
	args := []string{
		"--plane=" + a.Plane, "--ca-file=" + mountPath + "/" + caKey, "--cluster=" + a.Cluster, "--enrolment=" + a.Enrolment,
		"--bootstrap-token-file=" + mountPath + "/" + tokenKey, "--state-secret=" + Namespace + "/" + StateSecret,
		fmt.Sprintf("--metrics-address=:%d", healthPort), "--log-format=json",
	}
	for _, s := range a.Servers {
		args = append(args, "--server="+s)
	}
	if a.ServerName != "" {
		args = append(args, "--server-name="+a.ServerName)
	}
	if a.MemberEndpoint != "" {
		args = append(args, "--member-endpoint="+a.MemberEndpoint)
	}
	if len(a.ServerCA) > 0 {
		args = append(args, "--server-ca-file="+mountPath+"/"+serverCAKey)
	}
	if a.DeliverSecret != "" {
		args = append(args, "--deliver-secret="+a.DeliverSecret, "--deliver-token-file="+deliverPath+"/token")
	}
	return args
}

const deliverPath = "/var/run/cellfed-agent/deliver"

// Objects are what to apply, in this order.
func (a Agent) Objects() ([]runtime.Object, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: a.labels()}
	}
	kind := func(version, kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: version, Kind: kind} }
	enrolment := map[string][]byte{tokenKey: []byte(a.Token), caKey: a.CA}
	if len(a.ServerCA) > 0 {
		enrolment[serverCAKey] = a.ServerCA
	}
	return []runtime.Object{
		&corev1.Namespace{TypeMeta: kind("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: Namespace, Labels: a.labels()}},
		&corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: named(Name)},
		&corev1.Secret{TypeMeta: kind("v1", "Secret"), ObjectMeta: named(EnrolmentSecret), Data: enrolment},
		&corev1.Secret{TypeMeta: kind("v1", "Secret"), ObjectMeta: named(StateSecret)},
		&rbacv1.Role{TypeMeta: kind("rbac.authorization.k8s.io/v1", "Role"), ObjectMeta: named(Name), Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{StateSecret}, Verbs: []string{"get", "patch"}},
		}},
		&rbacv1.RoleBinding{
			TypeMeta: kind("rbac.authorization.k8s.io/v1", "RoleBinding"), ObjectMeta: named(Name),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: Name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: Namespace, Name: Name}},
		},
		&appsv1.Deployment{TypeMeta: kind("apps/v1", "Deployment"), ObjectMeta: named(Name), Spec: a.deployment()},
	}, nil
}

func (a Agent) labels() map[string]string {
	out := map[string]string{"app.kubernetes.io/name": Name, "app.kubernetes.io/part-of": "cellfed"}
	for k, v := range a.Labels {
		out[k] = v
	}
	return out
}

func (a Agent) deployment() appsv1.DeploymentSpec {
	selector := map[string]string{"app.kubernetes.io/name": Name}
	replicas, grace, yes, no, user := max(a.Replicas, 1), int64(20), true, false, int64(nobody)
	none := intstr.FromInt32(0)
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(healthPort)}}, PeriodSeconds: 10, TimeoutSeconds: 5}
	}
	volume := func(name, secret string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}
	}
	volumes := []corev1.Volume{volume("enrolment", EnrolmentSecret)}
	mounts := []corev1.VolumeMount{{Name: "enrolment", MountPath: mountPath, ReadOnly: true}}
	if a.DeliverTokenSecret != "" {
		volumes = append(volumes, volume("deliver", a.DeliverTokenSecret))
		mounts = append(mounts, corev1.VolumeMount{Name: "deliver", MountPath: deliverPath, ReadOnly: true})
	}
	return appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: selector},
		// The tunnel that is there stays until there is another.
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none}},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: a.labels()},
			Spec: corev1.PodSpec{
				ServiceAccountName: Name, TerminationGracePeriodSeconds: &grace, Volumes: volumes,
				SecurityContext: &corev1.PodSecurityContext{
					RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
				Containers: []corev1.Container{{
					Name: "agent", Image: a.Image, Args: a.Args(), VolumeMounts: mounts,
					Ports:         []corev1.ContainerPort{{Name: "health", ContainerPort: healthPort}},
					LivenessProbe: probe("/healthz"), ReadinessProbe: probe("/readyz"),
					Resources: corev1.ResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
						Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
					},
					SecurityContext: &corev1.SecurityContext{
						AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					},
				}},
			},
		},
	}
}

// YAML is all of it as one stream of documents.
func (a Agent) YAML() ([]byte, error) {
	objects, err := a.Objects()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("writing the agent's objects: %w", err)
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes(), nil
}
