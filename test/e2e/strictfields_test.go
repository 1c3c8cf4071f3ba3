package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// knock sends the plane a request as it is, with no client library to add what it likes.
func knock(t *testing.T, method, path, contentType, body string) (int, string) {
	t.Helper()
	config := world.plane.RestConfig()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, config.Host+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// asJSON is a manifest as JSON.
func asJSON(t *testing.T, manifest string) string {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const (
	jsonType      = "application/json"
	yamlType      = "application/yaml"
	mergePatch    = "application/merge-patch+json"
	jsonPatch     = "application/json-patch+json"
	applyPatch    = "application/apply-patch+yaml"
	ignoreUnknown = "?fieldValidation=Ignore"
)

func TestAMistypedFieldIsRefusedWhateverTheClientAsks(t *testing.T) {
	for title, f := range bothForms {
		t.Run(title, func(t *testing.T) {
			w := newTenant(t, "strict-"+f.version, "a "+east, "b "+west)
			everywhere := "placement: " + f.in(w, "a", "b")
			first := f.config(w, "web", "1", everywhere, "placementMask: "+f.in(w, "a", "b"))
			w.apply(first)
			w.has("web", "a=1", "b=1")
			w.told("web", "True")

			mistyped := f.config(w, "web", "2", everywhere, "placementMaks: "+f.in(w, "a"))
			nobody := f.config(w, "fresh", "2", everywhere, "placementMaks: "+f.in(w, "a"))
			current := f.read(w, "web")
			put := current.DeepCopy()
			delete(put.Object["spec"].(map[string]any), "placementMask")
			put.Object["spec"].(map[string]any)["placementMaks"] = map[string]any{}
			putJSON, err := json.Marshal(put)
			if err != nil {
				t.Fatal(err)
			}
			twice := strings.Replace(asJSON(t, f.config(w, "fresh", "2", everywhere)), `"spec":{`, `"spec":{"placementMask":{},"placementMask":null,`, 1)
			inside := func(field, value string) string { return `{"spec":{"` + field + `":` + value + `}}` }

			all := "/apis/types.kubefed.io/" + f.version + "/namespaces/" + w.ns + "/federatedconfigmaps"
			web := all + "/web"
			for name, c := range map[string]struct{ method, path, contentType, body, says string }{
				"a create that asks for nothing":     {"POST", all, jsonType, asJSON(t, nobody), "spec.placementMaks"},
				"a create that asks for no warning":  {"POST", all + ignoreUnknown, jsonType, asJSON(t, nobody), "spec.placementMaks"},
				"a create that asks for warnings":    {"POST", all + "?fieldValidation=Warn", jsonType, asJSON(t, nobody), "spec.placementMaks"},
				"a create that asks twice":           {"POST", all + ignoreUnknown + "&fieldValidation=Strict", jsonType, asJSON(t, nobody), "spec.placementMaks"},
				"a create in YAML":                   {"POST", all, yamlType, nobody, "spec.placementMaks"},
				"a dry run":                          {"POST", all + "?dryRun=All", jsonType, asJSON(t, nobody), "spec.placementMaks"},
				"a mask that is given twice":         {"POST", all, jsonType, twice, `duplicate field \"spec.placementMask\"`},
				"an update":                          {"PUT", web, jsonType, string(putJSON), "spec.placementMaks"},
				"an update that asks for no warning": {"PUT", web + ignoreUnknown, jsonType, string(putJSON), "spec.placementMaks"},
				"a merge patch":                      {"PATCH", web, mergePatch, `{"spec":{"placementMask":null,"placementMaks":{}}}`, "spec.placementMaks"},
				"a merge patch, no warning":          {"PATCH", web + ignoreUnknown, mergePatch, inside("placementMaks", `{}`), "spec.placementMaks"},
				"a merge patch within the mask":      {"PATCH", web, mergePatch, inside("placementMask", `{"topologys":[]}`), "spec.placementMask.topologys"},
				"a merge patch within an override": {"PATCH", web, mergePatch,
					inside("overrides", `[{"`+f.overrideName+`":"`+f.name(w, "a")+`","`+f.overrides+`":[{"path":"/data/x","vaule":"1"}]}]`), "spec.overrides[0]." + f.overrides + "[0].vaule"},
				"a merge patch that says it twice": {"PATCH", web, mergePatch, `{"spec":{"placementMask":{},"placementMask":null}}`, "duplicate field"},
				"a JSON patch":                     {"PATCH", web, jsonPatch, `[{"op":"move","from":"/spec/placementMask","path":"/spec/placementMaks"}]`, "spec.placementMaks"},
				"a JSON patch, no warning":         {"PATCH", web + ignoreUnknown, jsonPatch, `[{"op":"add","path":"/spec/placementMaks","value":{}}]`, "spec.placementMaks"},
				"a server-side apply": {"PATCH", web + "?fieldManager=x&force=true", applyPatch, mistyped,
					".spec.placementMaks: field not declared in schema"},
				"a server-side apply, no warning": {"PATCH", web + ignoreUnknown + "&fieldManager=x&force=true", applyPatch, mistyped,
					".spec.placementMaks: field not declared in schema"},
				"a server-side apply that creates": {"PATCH", all + "/fresh" + ignoreUnknown + "&fieldManager=x", applyPatch, nobody,
					".spec.placementMaks: field not declared in schema"},
				"a server-side apply that says it twice": {"PATCH", web + ignoreUnknown + "&fieldManager=x&force=true", applyPatch,
					f.config(w, "web", "2", everywhere, "placementMask: {}", "placementMask: "+f.in(w, "a", "b")), `already set`},
			} {
				t.Run(name, func(t *testing.T) {
					code, said := knock(t, c.method, c.path, c.contentType, c.body)
					if code < 400 || !strings.Contains(said, c.says) {
						t.Errorf("the plane answers with %d and does not say %q:\n%s", code, c.says, said)
					}
				})
			}
			for name, c := range map[string]struct {
				stdin string
				args  []string
			}{
				"kubectl apply":               {mistyped, []string{"apply", "--validate=false", "-f", "-"}},
				"kubectl apply, warnings":     {mistyped, []string{"apply", "--validate=warn", "-f", "-"}},
				"kubectl apply on the server": {mistyped, []string{"apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"}},
				"kubectl create":              {nobody, []string{"create", "--validate=false", "-f", "-"}},
				"kubectl replace":             {mistyped, []string{"replace", "--validate=false", "-f", "-"}},
				"kubectl patch":               {"", []string{"patch", f.resource + "/web", "-n", w.ns, "--type=merge", "-p", `{"spec":{"placementMaks":{}}}`}},
				"kubectl edit":                {"", []string{"edit", f.resource + "/web", "-n", w.ns, "--validate=false"}},
			} {
				t.Run(name, func(t *testing.T) {
					// What kubectl edit was answered stands above the object when the editor is opened again.
					shown := filepath.Join(t.TempDir(), "shown")
					editor := filepath.Join(t.TempDir(), "editor")
					script := "#!/bin/sh\ngrep '^#' \"$1\" >> " + shown + "\nsed -i 's/^  placementMask:/  placementMaks:/' \"$1\"\n"
					if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
						t.Fatal(err)
					}
					t.Setenv("KUBE_EDITOR", editor)
					out, code := kubectlExit(t, c.stdin, c.args...)
					if above, err := os.ReadFile(shown); err == nil {
						out += string(above)
					}
					if code == 0 || !strings.Contains(out, "placementMaks") {
						t.Errorf("ends with %d and does not name the field:\n%s", code, out)
					}
				})
			}
			if now := f.read(w, "web"); now.GetGeneration() != current.GetGeneration() {
				t.Errorf("what was refused changed the object: %v", now.Object["spec"])
			}
			if out, err := kubectl(t.Context(), "", "get", f.resource+"/fresh", "-n", w.ns); err == nil || !strings.Contains(out, "NotFound") {
				t.Errorf("what was refused was created: %s", out)
			}
			w.has("web", "a=1", "b=1")
		})
	}
}

func TestWhatIsOpenStaysOpenAndStatusIsNoDoor(t *testing.T) {
	for title, f := range bothForms {
		t.Run(title, func(t *testing.T) {
			w := newTenant(t, "open-"+f.version, "a "+east)
			open := strings.Replace(f.config(w, "web", "1", "placement: "+f.in(w, "a"),
				"overrides: [{"+f.overrideName+": "+f.name(w, "a")+", "+f.overrides+": [{path: /data/more, value: '1'}, {path: /metadata/labels, value: {any: thing}}]}]"),
				"{data:", "{metadata: {labels: {some: thing}, anything: {deep: [1, 2.5]}}, immutable: false, data:", 1)
			all := "/apis/types.kubefed.io/" + f.version + "/namespaces/" + w.ns + "/federatedconfigmaps"
			if code, said := knock(t, "POST", all, yamlType, open); code != http.StatusCreated {
				t.Fatalf("a template and override values of any content: %d %s", code, said)
			}
			w.has("web", "a=1")
			w.told("web", "True")
			if got, _, _ := unstructured.NestedFieldNoCopy(f.read(w, "web").Object, "spec", "template", "metadata", "anything", "deep"); fmt.Sprint(got) != "[1 2.5]" {
				t.Errorf("the template's own field is %v", got)
			}

			// KubeFed's controller, or one of another version, writes a status that it knows and a spec that it remembers.
			strange := f.read(w, "web")
			strange.Object["spec"].(map[string]any)["placementMaks"] = map[string]any{}
			strange.Object["status"].(map[string]any)["mood"] = "good"
			gvr := fedConfigMap
			gvr.Version = f.version
			for {
				strange.SetResourceVersion(f.read(w, "web").GetResourceVersion())
				_, err := world.client.Resource(gvr).Namespace(w.ns).UpdateStatus(t.Context(), strange, metav1.UpdateOptions{})
				if err == nil {
					break
				}
				if !strings.Contains(err.Error(), "the object has been modified") {
					t.Fatalf("a status is refused: %v", err)
				}
			}
			if code, said := knock(t, "PATCH", all+"/web/status", mergePatch, `{"status":{"mood":"good"}}`); code != http.StatusOK {
				t.Errorf("a patch of a status is refused: %d %s", code, said)
			}
			if g := f.read(w, "web").GetGeneration(); g != 1 {
				t.Errorf("a status changed the spec: generation %d", g)
			}
		})
	}
}

func TestTheKindsOfThePlaneAreClosedToo(t *testing.T) {
	w := newTenant(t, "strict-kinds")
	for path, body := range map[string]string{
		"/apis/topology.cellfed.io/v1alpha1/namespaces/strict-kinds/units":                        strings.Replace(w.unit("a "+east), "spec: {", "spec: {memberNamespce: x, ", 1),
		"/apis/core.kubefed.io/v1beta1/namespaces/kube-federation-system/federatedtypeconfigs":    "apiVersion: core.kubefed.io/v1beta1\nkind: FederatedTypeConfig\nmetadata: {name: secrets}\nspec: {propagation: Enabled, propagater: KubeFed, memberNamespce: x, targetType: {version: v1, kind: Secret, pluralName: secrets, scope: Namespaced}, federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedSecret, pluralName: federatedsecrets, scope: Namespaced}}\n",
		"/apis/propagation.cellfed.io/v1alpha1/namespaces/strict-kinds/revisions" + ignoreUnknown: "apiVersion: propagation.cellfed.io/v1alpha1\nkind: Revision\nmetadata: {name: x}\nspec: {of: {kind: X, name: x}, template: {}, memberNamespce: x}\n",
	} {
		if code, said := knock(t, "POST", path, yamlType, body); code < 400 || !strings.Contains(said, "memberNamespce") {
			t.Errorf("%s answers with %d:\n%s", path, code, said)
		}
	}
}
