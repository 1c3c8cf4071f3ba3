package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// defaultAgentImage is the image with cellfed-agent, which --agent-image replaces where images come from elsewhere.
const defaultAgentImage = "cellfed/cellfed-agent:latest"

// Files of an agent, and where its pod has them.
const (
	agentCAFile    = "plane-ca.crt"
	agentTokenFile = "token"
	bootstrapMount = "/etc/cellfed-agent/bootstrap"
	accountMount   = "/etc/cellfed-agent/account"
)

// agentName is the name of everything about a member's agent, on both sides, but for its key.
func agentName(member string) string { return accountName(member) + "-agent" }

// agentStateName is the Secret in the member with the agent's key and certificate.
func agentStateName(member string) string { return agentName(member) + "-state" }

// agentMetricsPort is where an agent's pod serves health and metrics.
const agentMetricsPort = 8092

// agentUser runs the agent in its pod: nobody special.
const agentUser = 65532

// here tells whether the agent is equipped in the file system, for one that runs outside of pods.
func (t *tunnelOptions) here() bool { return t.agentDir != "" }

// equipAgent gives the member's agent what it needs: in the member, as YAML, or in a directory.
func (o *joinOptions) equipAgent(ctx context.Context, a agentInput, inMember []artefact) error {
	if o.tunnel.here() {
		return o.writeAgentDir(a)
	}
	inPods, err := agentArtefacts(a)
	if err != nil {
		return err
	}
	if o.member == nil {
		o.say("plane: member %s waits for its agent; the token is good until %s", o.name, a.expires.Format("2006-01-02 15:04:05 MST"))
		return printManifest(o, append(inMember, inPods...))
	}
	if err := o.ensureAll(ctx, "member", o.member, inPods); err != nil {
		return err
	}
	if err := o.awaitReady(ctx); err != nil {
		return err
	}
	return o.warnGivenUp(ctx)
}

// printManifest prints what is to be applied in the member.
func printManifest(o *joinOptions, all []artefact) error {
	if o.output == outputJSON {
		return printStructured(o.out, outputJSON, map[string]any{"apiVersion": "v1", "kind": "List", "items": objects(all)})
	}
	fmt.Fprintf(o.out, "# Member %s: apply this in the member. It holds a token that one agent can use once.\n", o.name)
	for _, a := range all {
		if err := printStructured(o.out, outputYAML, a.object.Object); err != nil {
			return err
		}
		fmt.Fprintln(o.out, "---")
	}
	return nil
}

// writeAgentDir writes the files of an agent outside of pods, and prints its command.
func (o *joinOptions) writeAgentDir(a agentInput) error {
	dir, err := filepath.Abs(o.tunnel.agentDir)
	if err != nil {
		return fmt.Errorf("writing what the agent needs: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing what the agent needs: %w", err)
	}
	for name, data := range map[string][]byte{agentCAFile: a.planeCA, agentTokenFile: []byte(a.tokenID + "." + a.tokenSecret)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("writing what the agent needs: %w", err)
		}
	}
	args := append(a.args(filepath.Join(dir, agentCAFile), filepath.Join(dir, agentTokenFile)), "--state-dir="+filepath.Join(dir, "state"))
	o.say("plane: member %s waits for its agent; the token is good until %s", o.name, a.expires.Format("2006-01-02 15:04:05 MST"))
	fmt.Fprintf(o.out, "cellfed-agent %s\n", strings.Join(args, " "))
	return nil
}

// args are an agent's flags, but for where it keeps its key.
func (a agentInput) args(caFile, tokenFile string) []string {
	args := []string{"--cluster=" + a.member, "--enrolment=" + a.enrolment}
	for _, s := range a.servers {
		args = append(args, "--server="+s)
	}
	return append(args, "--plane="+a.planeURL, "--ca-file="+caFile, "--bootstrap-token-file="+tokenFile, "--allow="+a.allowed())
}

// allowed is the only address that the agent shall reach: the member's API server.
func (a agentInput) allowed() string {
	u, err := url.Parse(a.endpoint)
	if err != nil {
		return "" // it was refused before
	}
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), "443")
}

// agentArtefacts are the agent and what it needs, in the member.
func agentArtefacts(a agentInput) ([]artefact, error) {
	name := agentName(a.member)
	marks := joinMarks(a.member, a.planeUID)
	here := metav1.ObjectMeta{Namespace: wellknown.FederationNamespace, Name: name, Labels: marks}
	state := here
	state.Name = agentStateName(a.member)

	var out []artefact
	var firstErr error
	add := func(gvr schema.GroupVersionResource, kind string, obj runtime.Object) {
		made, err := newArtefact(gvr, kind, false, obj)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		out = append(out, made)
	}
	add(secrets, "Secret", &corev1.Secret{ObjectMeta: here, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{
		agentCAFile: a.planeCA, agentTokenFile: []byte(a.tokenID + "." + a.tokenSecret),
	}})
	add(serviceAccounts, "ServiceAccount", &corev1.ServiceAccount{ObjectMeta: here})
	// The agent's key and certificate outlive its pods here: the token is good for one key only.
	add(secrets, "Secret", &corev1.Secret{ObjectMeta: state, Type: corev1.SecretTypeOpaque})
	add(roles, "Role", &rbacv1.Role{ObjectMeta: here, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{state.Name}, Verbs: []string{"get", "update", "patch"},
	}}})
	add(roleBindings, "RoleBinding", &rbacv1.RoleBinding{
		ObjectMeta: here,
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: here.Namespace, Name: name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	})
	add(deployments, "Deployment", agentDeployment(a, here, state.Name))
	return out, firstErr
}

func agentDeployment(a agentInput, meta metav1.ObjectMeta, stateSecret string) *appsv1.Deployment {
	selector := map[string]string{joinedAsLabel: a.member, "app.kubernetes.io/name": "cellfed-agent"}
	args := append(a.args(bootstrapMount+"/"+agentCAFile, bootstrapMount+"/"+agentTokenFile), "--state-secret="+meta.Namespace+"/"+stateSecret)
	mounts := []corev1.VolumeMount{{Name: "bootstrap", MountPath: bootstrapMount, ReadOnly: true}}
	volumes := []corev1.Volume{{Name: "bootstrap", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: meta.Name}}}}
	if a.handsOver {
		args = append(args, "--deliver-secret="+wellknown.FederationNamespace+"/"+accountName(a.member),
			"--deliver-token-file="+accountMount+"/"+corev1.ServiceAccountTokenKey, "--deliver-ca-file="+accountMount+"/"+corev1.ServiceAccountRootCAKey)
		mounts = append(mounts, corev1.VolumeMount{Name: "account", MountPath: accountMount, ReadOnly: true})
		volumes = append(volumes, corev1.Volume{Name: "account", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: accountName(a.member)}}})
	}
	args = append(args, fmt.Sprintf("--metrics-address=:%d", agentMetricsPort))
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(agentMetricsPort)}}, PeriodSeconds: 10}
	}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		// More are welcome: they share the certificate in the Secret.
		Replicas: ptr.To[int32](1),
		Selector: &metav1.LabelSelector{MatchLabels: selector},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: selector},
			Spec: corev1.PodSpec{
				ServiceAccountName: meta.Name,
				SecurityContext: &corev1.PodSecurityContext{
					RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](agentUser), FSGroup: ptr.To[int64](agentUser),
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
				Containers: []corev1.Container{{
					Name: "agent", Image: a.image, Args: args, VolumeMounts: mounts,
					LivenessProbe: probe("/healthz"), ReadinessProbe: probe("/readyz"),
					Resources: corev1.ResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("40Mi")},
						Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
					},
					SecurityContext: &corev1.SecurityContext{
						AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
						Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					},
				}},
				Volumes: volumes,
			},
		},
	}}
}
