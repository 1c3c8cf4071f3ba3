package tenancy

import (
	"slices"
	"strings"
	"testing"

	corev1beta1 "github.com/cellfed/cellfed/pkg/apis/core/v1beta1"
	"github.com/cellfed/cellfed/pkg/glob"
)

var (
	nobody = Tenant{}
	acme   = Tenant{"acme", "prod"}
	acme2  = Tenant{"acme", "test"}
	rival  = Tenant{"rival", "prod"}
)

func grant(tenant, workspace string, namespaces ...string) corev1beta1.TenantGrant {
	g := corev1beta1.TenantGrant{Tenant: tenant, MemberNamespaces: namespaces}
	if workspace != "*" {
		g.Workspace = &workspace
	}
	return g
}

func TestWhoMayUseAMember(t *testing.T) {
	open, own := Access{}, Access{Owner: acme}
	listed := Access{Grants: []corev1beta1.TenantGrant{grant("acme", "prod", "acme-*", "shared"), grant("rival", "*", "rival"), grant("", "*", "free")}}
	mixed := Access{Owner: acme, Grants: []corev1beta1.TenantGrant{grant("rival", "prod", "guest-*")}}
	for name, c := range map[string]struct {
		access    Access
		who       Tenant
		namespace string
		want      bool
	}{
		"a member that says nothing is everybody's":             {open, rival, "any", true},
		"also of those without a tenant":                        {open, nobody, "any", true},
		"unless grants are required":                            {Access{Required: true}, rival, "any", false},
		"then it is of those without a tenant":                  {Access{Required: true}, nobody, "any", true},
		"a member with labels is its own tenant's":              {own, acme, "any", true},
		"and nobody else's":                                     {own, rival, "any", false},
		"nor another workspace's":                               {own, acme2, "any", false},
		"nor of those without a tenant":                         {own, nobody, "any", false},
		"its own tenant needs no grant where grants are needed": {Access{Owner: acme, Required: true}, acme, "any", true},
		"a grant gives what it lists":                           {listed, acme, "acme-a", true},
		"each of it":                                            {listed, acme, "shared", true},
		"and no more":                                           {listed, acme, "other", false},
		"to the workspace that it says":                         {listed, acme2, "acme-a", false},
		"a grant without a workspace is for all of them":        {listed, Tenant{"rival", "x"}, "rival", true},
		"also for none":                                         {listed, Tenant{"rival", ""}, "rival", true},
		"one tenant's grant is not another's":                   {listed, rival, "acme-a", false},
		"who is not listed has nothing":                         {listed, Tenant{"third", "prod"}, "acme-a", false},
		"nobody's grant is nobody's":                            {listed, nobody, "free", true},
		"and gives no more to nobody":                           {listed, nobody, "acme-a", false},
		"a tenant is not nobody":                                {listed, acme, "free", false},
		"guests do not drive the owner out":                     {mixed, acme, "any", true},
		"guests have what is granted":                           {mixed, rival, "guest-1", true},
		"and nothing else":                                      {mixed, rival, "acme-a", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.access.Granted(c.who, c.namespace); got != c.want {
				t.Errorf("%v in %s: %v, want %v", c.who, c.namespace, got, c.want)
			}
		})
	}
}

func TestSystemNamespacesAreGrantedToNobody(t *testing.T) {
	for _, access := range []Access{{}, {Owner: acme}, {Grants: []corev1beta1.TenantGrant{grant("acme", "*", "*"), grant("", "*", "*", "kube-system")}}} {
		for _, who := range []Tenant{nobody, acme} {
			for _, namespace := range []string{"kube-system", "kube-public", "kube-node-lease", "kube-federation-system", "cellfed-units", "cellfed-x"} {
				if access.Granted(who, namespace) {
					t.Errorf("%s is granted to %v by %+v", namespace, who, access)
				}
			}
		}
		if access.Granted(acme, "default") {
			t.Errorf("default is granted to a tenant by %+v", access)
		}
	}
	if !(Access{}).Granted(nobody, "default") {
		t.Error("default is not granted to those without a tenant")
	}
}

func TestATenantIsToldOfItsOwnGrantsOnly(t *testing.T) {
	access := Access{Grants: []corev1beta1.TenantGrant{grant("acme", "*", "acme-*"), grant("rival", "*", "secret"), grant("acme", "prod", "b")}}
	for who, want := range map[Tenant][]string{acme: {"acme-*", "b"}, acme2: {"acme-*"}, rival: {"secret"}, nobody: nil} {
		if got := access.Namespaces(who); !slices.Equal(got, want) {
			t.Errorf("%v is told %v, want %v", who, got, want)
		}
	}
	if got := (Access{}).Namespaces(acme); !slices.Equal(got, []string{"*"}) {
		t.Error(got)
	}
}

func TestPatternsOfNamespaces(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "x", true}, {"a*", "a", true}, {"a*", "ba", false},
		{"*a", "ba", true}, {"*a", "ab", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "axbxc", true}, {"a*b*c", "axcxb", false},
		{"*b*", "abc", true}, {"*b*", "ac", false}, {"**", "x", true}, {"a**b", "ab", true}, {"ab*ba", "aba", false}, {"*ab*ab*", "ab", false},
		{"*ab*ab*", "abab", true}, {"", "", true}, {"", "x", false}, {"a.*", "ab", false},
	} {
		if got := glob.Match(c.pattern, c.name); got != c.want {
			t.Errorf("%q and %q: %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
	// What a regular expression would take hours for.
	if glob.Match(strings.Repeat("a*", 30)+"b", strings.Repeat("a", 63)) {
		t.Error("matched")
	}
}

func TestOwnersAreSaidForPeople(t *testing.T) {
	for who, want := range map[Tenant]string{nobody: "namespaces without a tenant", acme: "tenant acme, workspace prod",
		{"acme", ""}: "tenant acme", {"", "prod"}: "workspace prod"} {
		if got := who.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
