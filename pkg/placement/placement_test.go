package placement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cellfed/cellfed/pkg/federated"
)

func TestResolve(t *testing.T) {
	units := []Unit{
		{Name: "b", Labels: map[string]string{"city": "hangzhou"}},
		{Name: "a", Labels: map[string]string{"city": "hangzhou"}},
		{Name: "c", Labels: map[string]string{"city": "shanghai"}},
	}
	hangzhou := labels.SelectorFromSet(labels.Set{"city": "hangzhou"})
	for name, tc := range map[string]struct {
		selection federated.Selection
		want      []string
		unknown   []string
	}{
		"nothing said selects nothing":                   {federated.Selection{}, nil, nil},
		"an empty list selects nothing, selector or not": {federated.Selection{Named: true, Selector: labels.Everything()}, nil, nil},
		"names are kept in order, once":                  {federated.Selection{Named: true, Names: []string{"c", "a", "c"}}, []string{"c", "a"}, nil},
		"a name of no unit is selected and unknown":      {federated.Selection{Named: true, Names: []string{"z", "a"}}, []string{"z", "a"}, []string{"z"}},
		"names win over the selector":                    {federated.Selection{Named: true, Names: []string{"c"}, Selector: hangzhou}, []string{"c"}, nil},
		"a selector selects what matches, by name":       {federated.Selection{Selector: hangzhou}, []string{"a", "b"}, nil},
		"the empty selector selects everything":          {federated.Selection{Selector: labels.Everything()}, []string{"a", "b", "c"}, nil},
		"a selector that matches nothing selects nothing": {
			federated.Selection{Selector: labels.SelectorFromSet(labels.Set{"city": "xian"})}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Resolve(tc.selection, units)
			if diff := cmp.Diff(tc.want, got.Names); diff != "" {
				t.Errorf("selected (-want +got):\n%s", diff)
			}
			var unknown []string
			for _, n := range got.Names {
				if got.Unknown(n) {
					unknown = append(unknown, n)
				}
			}
			if diff := cmp.Diff(tc.unknown, unknown); diff != "" {
				t.Errorf("unknown (-want +got):\n%s", diff)
			}
		})
	}
}
