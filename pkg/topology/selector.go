package topology

import (
	"maps"
	"reflect"
)

const (
	clusterSelector  = "clusterSelector"
	topologySelector = "topologySelector"

	matchLabels      = "matchLabels"
	matchExpressions = "matchExpressions"
)

// tradeSelectors says the selectors of a placement or mask in the other form, in place. It is the same both ways, and
// undoes itself.
//
// Let scoped(t) be t with the two requirements appended. A topologySelector t and a clusterSelector scoped(t) mean the
// same, and each form has one of them as its own word, the other verbatim. Three things stand in the way of simply
// trading one for the other:
//
//   - an empty list of matchExpressions: scoped(t) would be that of no list at all. Then both selectors stand together.
//   - what is no selector (a string, an unknown key): nothing can be appended to it, so it stays.
//   - both selectors at once, in any other way than the first: they stay.
//
// Together these cases cover every pair of values once on either side.
func (s scope) tradeSelectors(placement map[string]any) {
	c, hasC := placement[clusterSelector]
	t, hasT := placement[topologySelector]
	switch {
	case hasC == hasT && (!hasC || s.plain):
	case s.plain:
		tradeKeys(placement, clusterSelector, topologySelector)
	case hasC && hasT:
		if s.isEmptyListCase(c, t) {
			delete(placement, clusterSelector)
		}
	case hasC:
		if stripped, ok := s.unscoped(c); ok {
			delete(placement, clusterSelector)
			placement[topologySelector] = stripped
		}
	default:
		m, list, shape := shapeOf(t)
		switch {
		case shape == shapeOther:
		case shape == shapeEmptyList:
			placement[clusterSelector] = s.scoped(m, list)
		default:
			delete(placement, topologySelector)
			placement[clusterSelector] = s.scoped(m, list)
		}
	}
}

// isEmptyListCase tells whether t has an empty list of expressions and c is scoped(t).
func (s scope) isEmptyListCase(c, t any) bool {
	tm, _, shape := shapeOf(t)
	if shape != shapeEmptyList {
		return false
	}
	cm, ok := s.unscoped(c)
	if !ok {
		return false
	}
	rest := maps.Clone(tm)
	delete(rest, matchExpressions)
	return reflect.DeepEqual(cm, rest)
}

type shape int

const (
	shapeOther     shape = iota // no selector that requirements can be appended to
	shapeEmptyList              // a selector whose matchExpressions are there and empty
	shapeSelector               // any other selector
)

func shapeOf(v any) (map[string]any, []any, shape) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, nil, shapeOther
	}
	for key := range m {
		if key != matchLabels && key != matchExpressions {
			return nil, nil, shapeOther
		}
	}
	expressions, has := m[matchExpressions]
	if !has {
		return m, nil, shapeSelector
	}
	list, ok := expressions.([]any)
	switch {
	case !ok:
		return nil, nil, shapeOther
	case len(list) == 0:
		return m, nil, shapeEmptyList
	default:
		return m, list, shapeSelector
	}
}

// scoped is the selector with the two requirements as its last expressions.
func (s scope) scoped(selector map[string]any, expressions []any) map[string]any {
	out := make(map[string]any, 2)
	maps.Copy(out, selector)
	list := make([]any, 0, len(expressions)+2)
	list = append(list, expressions...)
	out[matchExpressions] = append(list, SelectorRequirements(s.kind, s.namespace)...)
	return out
}

// unscoped takes scoped back; false for what it never makes.
func (s scope) unscoped(v any) (map[string]any, bool) {
	m, list, shape := shapeOf(v)
	n := len(list) - 2
	if shape != shapeSelector || n < 0 {
		return nil, false
	}
	if !reflect.DeepEqual(list[n:], SelectorRequirements(s.kind, s.namespace)) {
		return nil, false
	}
	out := maps.Clone(m)
	if n == 0 {
		delete(out, matchExpressions)
	} else {
		out[matchExpressions] = list[:n:n]
	}
	return out, true
}
