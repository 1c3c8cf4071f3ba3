package names

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// step is one request. After a list its pages are followed to the end.
type step struct {
	method, path, contentType, body string
}

func (s step) String() string {
	text := s.method + " " + s.path
	if len(text) > 150 {
		text = fmt.Sprintf("%s… (%d bytes)", text[:150], len(s.path))
	}
	if s.body != "" {
		text += fmt.Sprintf(" with %d bytes", len(s.body))
	}
	return text
}

// nasty are names that databases are known to confuse, to cut or to choke on.
func nasty() []string {
	out := []string{
		"admin", "Admin", "ADMIN", "view", "view ", " view", "view  ", "view\t", "view\n", "view\r\n", "vi ew",
		"é", "e\u0301", "É", "ß", "ss", "SS", "ẞ", "ı", "i", "I", "İ", "å", "\u212b", "a\u030a", "ａ", "а", "a", "A", "a\u200b", "\u200ba", "\ufeffa",
		"\U0001f600", "\U0001f601", "\U0001f468\u200d\U0001f469", "\U00010000", "\uffff", "\ufffd", "日本", "ไทย", "عربى",
		"\x7f", "\x01", "\x1f", "a\x00", "a\x00b", "\x00", "%", "a%b", "a%25", "a%2fb", "_", "a_b", "aXb", "..", ".", "...", "a..b", ".a", "a.",
		"a/b", "/", "a//b", "a\\b", "'", "''", "' OR '1'='1", "\"", "`", ";--", "#", "a#b", "a!", "a\"", "a$", "a ", "a~", "?", "*", "a*b", "-", "--", "0", "00", "1", "01", "1.0",
		"1e1", "null", "NULL", "true", "\u2028", " ", "  ", "\u00a0", "\u3000", "system:nasty", "SYSTEM:nasty", "system:Nasty", "a:b", "[", "]", "{", "}", "^", "|", "~", "@", "a@b",
	}
	for _, n := range []int{62, 63, 64, 252, 253, 254, 255, 256, 511, 512, 513, 629, 630, 631, 767, 768, 2000, 2047, 2048, 2049, 3072, 10_000} {
		out = append(out, strings.Repeat("n", n), strings.Repeat("n", n-1)+"m", strings.Repeat("N", n))
	}
	for _, n := range []int{170, 171, 256, 257, 512} { // letters of two and three bytes: the limit is in bytes
		out = append(out, strings.Repeat("é", n), strings.Repeat("日", n))
	}
	return out
}

const (
	rbac = "/apis/rbac.authorization.k8s.io/v1"
	// jsonType and applyType are the content types of bodies.
	jsonType  = "application/json"
	applyType = "application/apply-patch+yaml"
)

func at(collection, name string) string { return collection + "/" + url.PathEscape(name) }

func object(apiVersion, kind, name string, more map[string]any) string {
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name}}
	for k, v := range more {
		o[k] = v
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // text of this file
	}
	return string(text)
}

// life makes, reads, lists and deletes objects of all names in a collection.
func life(collection, apiVersion, kind string, names []string) []step {
	var out []step
	body := func(name string) string { return object(apiVersion, kind, name, nil) }
	for _, name := range names {
		out = append(out,
			step{http.MethodPost, collection, jsonType, body(name)},
			step{http.MethodGet, at(collection, name), "", ""},
			step{http.MethodPost, collection, jsonType, body(name)})
	}
	lists := []step{
		{http.MethodGet, collection, "", ""},
		{http.MethodGet, collection + "?limit=1", "", ""},
		{http.MethodGet, collection + "?limit=7", "", ""},
	}
	out = append(out, lists...)
	for n, name := range names {
		if n%2 == 0 {
			out = append(out, step{http.MethodDelete, at(collection, name), "", ""}, step{http.MethodGet, at(collection, name), "", ""})
		}
		if n%3 == 0 { // RBAC objects can be made by PUT, all by apply
			out = append(out, step{http.MethodPut, at(collection, name), jsonType, body(name)})
		}
		if n%5 == 0 {
			out = append(out, step{http.MethodPatch, at(collection, name) + "?fieldManager=test", applyType, body(name)})
		}
	}
	out = append(out, lists...)
	for _, name := range names {
		out = append(out, step{http.MethodDelete, at(collection, name), "", ""})
	}
	return append(out, lists[1])
}

// long is a DNS name of exactly n letters, in labels of at most 63.
func long(n int, letter string) string {
	var labels []string
	for n > 63 {
		labels = append(labels, strings.Repeat(letter, min(63, n-2)))
		n -= min(63, n-2) + 1
	}
	return strings.Join(append(labels, strings.Repeat(letter, n)), ".")
}

// script is everything. The longest keys that Kubernetes' own limits admit are among it: a custom resource of a name of
// 253 in a namespace of 63, of a plural of 63 in a group that leaves just room for it.
func script() []step {
	out := life(rbac+"/clusterroles", "rbac.authorization.k8s.io/v1", "ClusterRole", nasty())
	namespace, plural := strings.Repeat("n", 63), strings.Repeat("p", 63)
	group := long(253-64, "g")
	crd := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", plural+"."+group, map[string]any{"spec": map[string]any{
		"group": group, "scope": "Namespaced", "names": map[string]any{"plural": plural, "kind": "Long"},
		"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}},
	}})
	out = append(out,
		step{http.MethodPost, "/api/v1/namespaces", jsonType, object("v1", "Namespace", namespace, nil)},
		step{http.MethodPost, "/api/v1/namespaces", jsonType, object("v1", "Namespace", namespace+"n", nil)},
		step{http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", jsonType, crd})
	in := "/namespaces/" + namespace
	dns := []string{"a", "A", "a.b", "a-b", "a_b", "b ", "0", long(252, "x"), long(253, "x"), long(254, "x"), long(253, "y"), strings.Repeat("z", 253), strings.Repeat("z", 513)}
	out = append(out, life("/api/v1"+in+"/configmaps", "v1", "ConfigMap", dns)...)
	out = append(out, life("/api/v1"+in+"/events", "v1", "Event", nil)...)
	out = append(out, life(rbac+in+"/roles", "rbac.authorization.k8s.io/v1", "Role", slices.Concat(dns, nasty()[:60], []string{strings.Repeat("r", 512), strings.Repeat("r", 513)}))...)
	out = append(out, life("/apis/"+group+"/v1"+in+"/"+plural, group+"/v1", "Long", dns)...)
	// What cannot be in any URL that kubectl writes.
	for _, raw := range []string{"%ff", "%c3%28", "%ed%a0%80", "%f8%88%80%80%80", "a%00", "%2e%2e", "%20"} {
		out = append(out, step{http.MethodGet, rbac + "/clusterroles/" + raw, "", ""}, step{http.MethodDelete, rbac + "/clusterroles/" + raw, "", ""})
	}
	return out
}
