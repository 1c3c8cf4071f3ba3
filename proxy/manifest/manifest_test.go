package manifest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func agent() Agent {
	return Agent{
		Image: "example/cellfed-agent:v1", Servers: []string{"proxy-1.example:8443", "proxy-2.example:8443"}, Plane: "https://plane.example:6443", CA: []byte("PEM"),
		Cluster: "hz-1", Enrolment: "abcd1234", Token: "abcdef.0123456789abcdef",
	}
}

func TestAnAgentHasAsFewRightsAsItNeeds(t *testing.T) {
	objects, err := agent().Objects()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.Role:
			seen++
			if len(o.Rules) != 1 || !slices.Equal(o.Rules[0].ResourceNames, []string{StateSecret}) || !slices.Equal(o.Rules[0].Resources, []string{"secrets"}) || slices.Contains(o.Rules[0].Verbs, "*") {
				t.Errorf("it may %+v", o.Rules)
			}
		case *appsv1.Deployment:
			seen++
			pod := o.Spec.Template.Spec
			c := pod.Containers[0]
			if !*pod.SecurityContext.RunAsNonRoot || !*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation ||
				!slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("it runs as %+v, %+v", pod.SecurityContext, c)
			}
			for _, v := range pod.Volumes {
				if v.EmptyDir != nil || v.HostPath != nil {
					t.Errorf("volume %s is no Secret", v.Name)
				}
			}
			for _, a := range c.Args {
				if strings.Contains(a, agent().Token) {
					t.Error("the token stands in the command line")
				}
			}
		case *corev1.Secret:
			seen++
			if o.Name == StateSecret && (o.Data != nil || o.StringData != nil) {
				t.Error("to apply it again would change what the agent keeps")
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d objects were looked at", seen)
	}
}

func TestWhatIsMissingIsTold(t *testing.T) {
	for what, spoil := range map[string]func(*Agent){
		"image": func(a *Agent) { a.Image = "" }, "proxy server": func(a *Agent) { a.Servers = nil }, "plane": func(a *Agent) { a.Plane = "" }, "trust": func(a *Agent) { a.CA = nil },
		"cluster": func(a *Agent) { a.Cluster = "" }, "enrolment": func(a *Agent) { a.Enrolment = "" }, "token": func(a *Agent) { a.Token = "" },
		"bring": func(a *Agent) { a.DeliverSecret = "n/s" },
	} {
		a := agent()
		spoil(&a)
		if _, err := a.YAML(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTheSameAgentIsTheSameText(t *testing.T) {
	a := agent()
	a.ServerName, a.MemberEndpoint, a.ServerCA, a.DeliverSecret, a.DeliverTokenSecret = "proxy", "https://10.0.0.1:6443", []byte("PEM"), "n/s", "account"
	first, err := a.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := a.YAML(); !bytes.Equal(first, again) {
			t.Fatal("it differs from time to time, and each joining would start the agent again")
		}
	}
}
