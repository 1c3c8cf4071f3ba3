package objects

import "strconv"

// Form is one of the two forms of a federated object.
type Form struct {
	Version   string
	list      string
	own       string // the key of a name in overrides
	verbatim  string // the other form's key, which entries of this form may have
	overrides string
}

// The two forms, spelled out here because a test that took the spelling from the code could not find it wrong.
var (
	Cluster  = Form{Version: "v1beta1", list: "clusters", own: "clusterName", verbatim: "topologyName", overrides: "clusterOverrides"}
	Topology = Form{Version: "v2beta1", list: "topologies", own: "topologyName", verbatim: "clusterName", overrides: "topologyOverrides"}
)

// Options say how far objects may leave the schemas.
type Options struct {
	// Valid keeps to what an API server lets in with the schemas of the forms.
	Valid bool
}

// Generate makes an object of a form. Equal bytes make equal objects; when the bytes are used up, zeros follow.
func Generate(data []byte, form Form, opts Options) map[string]any {
	g := &generator{data: data, form: form, valid: opts.Valid}
	return g.object()
}

type generator struct {
	data      []byte
	form      Form
	valid     bool
	namespace string
	kind      string
}

// n is a number below limit, steered by the next byte.
func (g *generator) n(limit int) int {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return int(b) % limit
}

func (g *generator) one(of ...string) string { return of[g.n(len(of))] }

// odd is true for one byte in eight, and never in valid objects.
func (g *generator) odd() bool { return g.n(8) == 7 && !g.valid }

func (g *generator) object() map[string]any {
	metadata := map[string]any{"name": "web"}
	switch g.n(8) {
	case 6:
		if g.odd() {
			metadata["namespace"] = int64(7)
		}
	case 7: // cluster-scoped
	default:
		g.namespace = g.one("acme-prod", "acme", "cell", "prod")
		metadata["namespace"] = g.namespace
	}
	obj := map[string]any{"apiVersion": "types.kubefed.io/" + g.form.Version, "kind": "FederatedConfigMap", "metadata": metadata}
	spec := map[string]any{"template": map[string]any{"data": map[string]any{"clusters": "x", "name": "y"}}}
	switch g.n(6) {
	case 0, 1, 2:
		g.kind = g.one("cell", "cell", "zone", "a.b")
		spec["topologyType"] = g.kind
	case 3:
		spec["topologyType"] = g.one("cluster", "")
	case 4:
		if g.odd() {
			spec["topologyType"] = g.junk()
		}
	}
	for _, key := range []string{"placement", "placementMask"} {
		if g.n(4) > 0 {
			spec[key] = g.placement()
		}
	}
	if g.n(3) > 0 {
		spec["overrides"] = g.list(g.override)
	}
	obj["spec"] = spec
	if g.odd() {
		obj["spec"] = g.junk()
	}
	if g.n(2) == 1 {
		obj["status"] = g.status()
	}
	return obj
}

// junk is JSON that no schema has in this place.
func (g *generator) junk() any {
	switch g.n(8) {
	case 0:
		return nil
	case 1:
		return "junk"
	case 2:
		return int64(-1)
	case 3:
		return []any{}
	case 4:
		return map[string]any{}
	case 5:
		return []any{map[string]any{"name": "a"}, "a", nil, []any{}}
	case 6:
		return 1.5
	default:
		return map[string]any{"name": "a", "clusters": []any{nil}, "matchLabels": "x"}
	}
}

func (g *generator) name() string {
	switch g.n(10) {
	case 0, 1, 2:
		return g.one("rz00a", "rz01a", "rz00b")
	case 3, 4, 5:
		return g.one("rz00a", "rz01a", "") + "." + g.namespace + "." + g.kind
	case 6: // another namespace's or type's unit
		return g.one("rz00a", "") + "." + g.one("other", "prod", "acme") + "." + g.one("cell", "zone", "cluster")
	case 7: // the suffix twice, or half
		return g.one("a."+g.namespace+"."+g.kind+"."+g.namespace+"."+g.kind, "."+g.kind, g.namespace+"."+g.kind, "..")
	case 8:
		return g.one("单元", "单元."+g.namespace+"."+g.kind, "a\u0000b", "e\u0301", "\u2028<&>\"\\")
	default:
		return "hz-" + strconv.Itoa(g.n(4))
	}
}

func (g *generator) list(f func() any) any {
	if g.odd() {
		return g.junk()
	}
	out := []any{}
	for range g.n(5) {
		e := f()
		out = append(out, e)
		if g.n(4) == 3 {
			out = append(out, e) // a duplicate
		}
	}
	return out
}

// named puts a name into an entry, under the own key or the verbatim one.
func (g *generator) named(entry map[string]any, own string) any {
	key := own
	if g.n(3) == 2 {
		key = g.form.verbatim
	}
	entry[key] = g.name()
	if g.odd() {
		entry[g.one("name", "clusterName", "topologyName")] = g.junk()
	}
	if g.odd() {
		delete(entry, key)
	}
	if g.odd() {
		return g.junk()
	}
	return entry
}

func (g *generator) entry() any { return g.named(map[string]any{}, "name") }

func (g *generator) override() any {
	entry := map[string]any{}
	switch g.n(3) {
	case 0:
		entry[g.form.overrides] = []any{}
	case 1:
		entry[g.form.overrides] = []any{
			map[string]any{"path": "/data/a", "value": "1"},
			map[string]any{"op": g.one("add", "remove", ""), "path": "/data/b", "value": g.junk()},
		}
	}
	if g.odd() {
		entry[g.one("clusterOverrides", "topologyOverrides")] = g.junk()
	}
	return g.named(entry, g.form.own)
}

func (g *generator) placement() any {
	if g.odd() {
		return g.junk()
	}
	p := map[string]any{}
	if g.n(2) == 1 {
		p[g.form.list] = g.list(g.entry)
	}
	if g.odd() {
		p[g.one("clusters", "topologies")] = g.list(g.entry)
	}
	switch g.n(6) {
	case 1:
		p["clusterSelector"] = g.selector()
	case 2:
		p["topologySelector"] = g.selector()
	case 3:
		p["clusterSelector"], p["topologySelector"] = g.selector(), g.selector()
	case 4: // the pair that stands together
		labels := g.one("a", "b", "")
		t, c := map[string]any{"matchExpressions": []any{}}, map[string]any{"matchExpressions": g.requirements()}
		if labels != "" {
			t["matchLabels"] = map[string]any{"city": labels}
			c["matchLabels"] = map[string]any{"city": g.one(labels, "a")}
		}
		p["clusterSelector"], p["topologySelector"] = c, t
	}
	return p
}

// requirements are the two that keep a selector to the object's own units, or nearly.
func (g *generator) requirements() []any {
	in := func(key string, values ...any) any {
		return map[string]any{"key": key, "operator": "In", "values": values}
	}
	t, ns := in("topology.cellfed.io/type", g.kind), in("topology.cellfed.io/namespace", g.namespace)
	switch g.n(8) {
	case 5:
		return []any{ns, t}
	case 6:
		return []any{t}
	case 7:
		return []any{t, in("topology.cellfed.io/namespace", "other")}
	default:
		return []any{t, ns}
	}
}

func (g *generator) selector() any {
	if g.odd() {
		return g.junk()
	}
	s := map[string]any{}
	switch g.n(4) {
	case 1:
		s["matchLabels"] = map[string]any{}
	case 2:
		s["matchLabels"] = map[string]any{"city": g.one("hangzhou", "shanghai", "")}
	}
	expression := map[string]any{"key": "ring", "operator": g.one("Exists", "In", "NotIn"), "values": []any{"a"}}
	switch g.n(7) {
	case 1:
		s["matchExpressions"] = []any{}
	case 2:
		s["matchExpressions"] = []any{expression}
	case 3:
		s["matchExpressions"] = g.requirements()
	case 4:
		s["matchExpressions"] = append([]any{expression}, g.requirements()...)
	case 5:
		s["matchExpressions"] = append(g.requirements(), g.requirements()...)
	case 6:
		s["matchExpressions"] = append(g.requirements(), expression)
	}
	if g.odd() {
		s[g.one("matchExpressions", "matchLabels", "matchFields")] = g.junk()
	}
	return s
}

func (g *generator) status() any {
	if g.odd() {
		return g.junk()
	}
	status := map[string]any{
		"observedGeneration": int64(g.n(5)),
		"summary":            map[string]any{"units": "3/4", "held": "1"},
		"conditions":         []any{map[string]any{"type": "Propagation", "status": "True"}},
	}
	if g.n(4) > 0 {
		status[g.form.list] = g.list(func() any {
			return g.named(map[string]any{"generation": int64(1), "remoteStatus": map[string]any{"name": "n", "clusters": nil}}, "name")
		})
	}
	if g.odd() {
		status[g.one("clusters", "topologies")] = g.junk()
	}
	return status
}
