package federated

import (
	"regexp"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
)

func content(t *testing.T, raw string) Content {
	t.Helper()
	c := Content{}
	if err := utiljson.Unmarshal([]byte(raw), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func revision(t *testing.T, c Content) string {
	t.Helper()
	r, err := c.Revision()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEqualContentsHaveEqualNames(t *testing.T) {
	base := revision(t, content(t, `{"template":{"a":1,"b":{"c":true,"d":[1,2]}},"overrides":[{"path":"/x","value":1}]}`))
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(base) {
		t.Errorf("%q", base)
	}
	for what, raw := range map[string]string{
		"keys in another order": `{"overrides":[{"value":1,"path":"/x"}],"template":{"b":{"d":[1,2],"c":true},"a":1}}`,
		"white space":           `{ "template": {"a": 1, "b": {"c": true, "d": [1, 2]}}, "overrides": [ {"path": "/x", "value": 1} ] }`,
	} {
		if r := revision(t, content(t, raw)); r != base {
			t.Errorf("%s: %s and %s", what, r, base)
		}
	}
	for what, raw := range map[string]string{
		"another value":         `{"template":{"a":2,"b":{"c":true,"d":[1,2]}},"overrides":[{"path":"/x","value":1}]}`,
		"another type":          `{"template":{"a":"1","b":{"c":true,"d":[1,2]}},"overrides":[{"path":"/x","value":1}]}`,
		"a list's order":        `{"template":{"a":1,"b":{"c":true,"d":[2,1]}},"overrides":[{"path":"/x","value":1}]}`,
		"other overrides":       `{"template":{"a":1,"b":{"c":true,"d":[1,2]}},"overrides":[{"path":"/x","value":2}]}`,
		"no overrides":          `{"template":{"a":1,"b":{"c":true,"d":[1,2]}}}`,
		"null is not nothing":   `{"template":{"a":1,"b":{"c":true,"d":[1,2]},"e":null},"overrides":[{"path":"/x","value":1}]}`,
		"an override's op said": `{"template":{"a":1,"b":{"c":true,"d":[1,2]}},"overrides":[{"path":"/x","value":1,"op":"replace"}]}`,
	} {
		if r := revision(t, content(t, raw)); r == base {
			t.Errorf("%s makes no other revision", what)
		}
	}
	none, empty := Content{Template: map[string]any{"a": int64(1)}}, Content{Template: map[string]any{"a": int64(1)}, Overrides: []any{}}
	if revision(t, none) != revision(t, empty) {
		t.Error("no overrides and an empty list of them are two revisions")
	}
}

func TestAUnitsContentIsTheTemplateAndItsOwnOverrides(t *testing.T) {
	o := read(t, `{"topologyType":"cell","template":{"a":1},"overrides":[{"clusterName":"a.acme.cell","clusterOverrides":[{"path":"/x"}]}]}`)
	a, b := o.ContentFor("a.acme.cell"), o.ContentFor("b.acme.cell")
	if len(a.Overrides) != 1 || b.Overrides != nil || revision(t, a) == revision(t, b) {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestNamesOfRevisionObjectsFitAndDiffer(t *testing.T) {
	long := strings.Repeat("a", 253)
	dotted := strings.Repeat("a.", 126) + "a"
	seen := map[string]string{}
	for _, kind := range []string{"FederatedDeployment", "FederatedConfigMap", "Federated" + strings.Repeat("K", 63)} {
		for _, name := range []string{"web", "web-1", "web.v1", "web-1.x", long, dotted, long[:200] + "-" + long[:40], long[:252] + "b"} {
			for _, uid := range []string{"u1", "u2"} {
				for _, hash := range []string{"0123456789abcdef", "fedcba9876543210"} {
					got := RevisionObjectName(kind, name, uid, hash)
					for _, wrong := range validation.IsDNS1123Subdomain(got) {
						t.Errorf("%s: %s", got, wrong)
					}
					what := kind + " " + name + " " + uid + " " + hash
					// Names that differ after the cut only are told apart by the objects' UIDs, which always differ.
					if other, twice := seen[got]; twice && !(len(name) > 200 && strings.HasPrefix(other, kind) && strings.HasSuffix(other, uid+" "+hash)) {
						t.Errorf("%s is the name of %q and of %q", got, what, other)
					}
					seen[got] = what
				}
			}
		}
	}
	if got := RevisionObjectName("FederatedDeployment", "web", "u1", "0123456789abcdef"); !strings.HasPrefix(got, "deployment-web-") || !strings.HasSuffix(got, "-0123456789abcdef") {
		t.Errorf("%s does not say whose it is", got)
	}
}

func TestAnOwnerMarkComesBackAsItWasWritten(t *testing.T) {
	o := Owner{Plane: "p", UID: "u", Unit: "a.acme.cell", Revision: "0123456789abcdef"}
	if got, ok := ReadOwner(o.String()); !ok || got != o {
		t.Errorf("%+v, %t", got, ok)
	}
	for _, value := range []string{"", "x", "{}", "null", "[]", `{"plane":"p"}`, `{"uid":7}`, `{"uid":""}`} {
		if got, ok := ReadOwner(value); ok {
			t.Errorf("%q is a mark: %+v", value, got)
		}
	}
}
