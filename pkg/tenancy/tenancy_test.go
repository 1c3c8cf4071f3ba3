package tenancy

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	tenant    = "tenancy.cellfed.io/tenant"
	workspace = "tenancy.cellfed.io/workspace"
)

func TestStamp(t *testing.T) {
	type labels = map[string]string
	for name, c := range map[string]struct {
		object, namespace, want labels
		changed                 bool
	}{
		"labels come from the namespace":             {labels{"app": "web"}, labels{tenant: "acme", workspace: "prod", "x": "y"}, labels{"app": "web", tenant: "acme", workspace: "prod"}, true},
		"an object without labels gets them":         {nil, labels{tenant: "acme"}, labels{tenant: "acme"}, true},
		"a forged label is overwritten":              {labels{tenant: "rival"}, labels{tenant: "acme"}, labels{tenant: "acme"}, true},
		"a label that the namespace lacks goes":      {labels{tenant: "acme", workspace: "prod"}, labels{tenant: "acme"}, labels{tenant: "acme"}, true},
		"nothing changes where all is as it must be": {labels{tenant: "acme", "a": "b"}, labels{tenant: "acme"}, labels{tenant: "acme", "a": "b"}, false},
		"nobody's object stays nobody's":             {nil, labels{"x": "y"}, nil, false},
		"an empty label is told from none":           {labels{tenant: ""}, nil, labels{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			object := maps.Clone(c.object)
			got, changed := Stamp(c.object, c.namespace)
			if d := cmp.Diff(c.want, got); d != "" || changed != c.changed {
				t.Errorf("changed: %v, want %v\n%s", changed, c.changed, d)
			}
			if d := cmp.Diff(object, c.object); d != "" {
				t.Errorf("the argument was changed:\n%s", d)
			}
			if !Stamped(got, c.namespace) || Of(got) != Of(c.namespace) {
				t.Error("what was stamped is not the namespace's")
			}
		})
	}
}

func TestOwnersDifferByTenantAndByWorkspace(t *testing.T) {
	all := []Tenant{{}, {Tenant: "a"}, {Workspace: "a"}, {"a", "b"}, {"b", "a"}}
	for i, x := range all {
		for j, y := range all {
			if (Of(map[string]string{tenant: x.Tenant, workspace: x.Workspace}) == y) != (i == j) {
				t.Errorf("%v and %v", x, y)
			}
		}
	}
}
