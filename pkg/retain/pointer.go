package retain

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cellfed/cellfed/pkg/apis/wellknown"
)

// Pointers are the fields that a FederatedTypeConfig lists. The zero value lists none.
type Pointers struct {
	fields []path
}

type path = []string

// Parse reads JSON pointers, in which * stands for every entry of a list or map. What cannot be read, or cannot be the
// member's, is said with its path; the pointers are then of no use.
func Parse(pointers []string, where *field.Path) (Pointers, field.ErrorList) {
	var p Pointers
	var errs field.ErrorList
	for i, pointer := range pointers {
		tokens, why := split(pointer)
		if why == "" {
			why = forbidden(tokens)
		}
		if why != "" {
			errs = append(errs, field.Invalid(where.Index(i), pointer, why))
			continue
		}
		p.fields = append(p.fields, tokens)
	}
	slices.SortFunc(p.fields, slices.Compare[path])
	p.fields = slices.CompactFunc(p.fields, slices.Equal[path])
	return p, errs
}

// Empty tells whether nothing is listed.
func (p Pointers) Empty() bool { return len(p.fields) == 0 }

func split(pointer string) (tokens path, why string) {
	if !strings.HasPrefix(pointer, "/") || pointer == "/" {
		return nil, "must be a JSON pointer, as /spec/template/spec/containers/*/resources"
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		if token == "" {
			return nil, "has an empty part between two slashes"
		}
		for rest := token; ; {
			i := strings.IndexByte(rest, '~')
			if i < 0 {
				break
			}
			if i+1 >= len(rest) || rest[i+1] != '0' && rest[i+1] != '1' {
				return nil, "a ~ must be written ~0, and a slash inside a key ~1"
			}
			rest = rest[i+2:]
		}
		tokens = append(tokens, strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~"))
	}
	return tokens, ""
}

// forbidden says why a field cannot be the member's.
func forbidden(tokens path) string {
	switch tokens[0] {
	case "*":
		return "would leave everything to the members: name a field first"
	case "apiVersion", "kind":
		return "is the object's identity, which only the plane says"
	case "status":
		return "is the member's anyway: leave it out"
	case "metadata":
		switch {
		case len(tokens) == 1 || tokens[1] != "labels" && tokens[1] != "annotations":
			return "is the object's identity or bookkeeping; of metadata only single labels can be retained"
		case tokens[1] == "annotations":
			return "annotations are the member's unless spec.propagatingAnnotations lists them: leave this out"
		case len(tokens) == 2:
			return "labels are the template's; to leave labels of the members' own to them write /metadata/labels/*"
		case tokens[2] == wellknown.ManagedLabel:
			return "says that the plane keeps the copy: members change it to take the copy out of the plane's hands"
		}
	}
	return ""
}

func join(tokens path) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1"))
	}
	return b.String()
}
