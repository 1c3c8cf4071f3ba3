package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// form is how one of the two forms of a FederatedConfigMap is spoken to kubectl. It is spelled out here: a test that took
// the spelling from the product could not find it wrong.
type form struct {
	version, resource, list, overrides, overrideName string
	full                                             bool // names are those of KubeFedClusters
}

var (
	clusterForm = form{version: "v1beta1", resource: "federatedconfigmaps.v1beta1.types.kubefed.io", list: "clusters",
		overrides: "clusterOverrides", overrideName: "clusterName", full: true}
	topologyForm = form{version: "v2beta1", resource: "federatedconfigmaps.v2beta1.types.kubefed.io", list: "topologies",
		overrides: "topologyOverrides", overrideName: "topologyName"}
	bothForms = map[string]form{"cluster form": clusterForm, "topology form": topologyForm}
)

// name is what a unit is called in the form.
func (f form) name(w *tenant, unit string) string {
	if f.full {
		return unit + "." + w.ns + ".cell"
	}
	return unit
}

// in is a placement or mask that names units.
func (f form) in(w *tenant, units ...string) string {
	var names []string
	for _, u := range units {
		names = append(names, f.name(w, u))
	}
	return "{" + f.list + ": [" + entries(names) + "]}"
}

// config is the manifest of a FederatedConfigMap in this form, in cells; more are further lines of the spec.
func (f form) config(w *tenant, name, version string, more ...string) string {
	out := fmt.Sprintf("apiVersion: types.kubefed.io/%s\nkind: FederatedConfigMap\nmetadata: {namespace: %s, name: %s}\nspec:\n  topologyType: cell\n  template: {data: {version: \"%s\"}}\n",
		f.version, w.ns, name, version)
	for _, line := range more {
		out += "  " + line + "\n"
	}
	return out
}

// read reads a FederatedConfigMap in this form.
func (f form) read(w *tenant, name string) *unstructured.Unstructured {
	w.Helper()
	gvr := fedConfigMap
	gvr.Version = f.version
	u, err := world.client.Resource(gvr).Namespace(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return u
}

// kubectlExit runs kubectl and tells its exit code too.
func kubectlExit(t *testing.T, stdin string, args ...string) (string, int) {
	t.Helper()
	out, err := kubectl(t.Context(), stdin, args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, 0
	case errors.As(err, &exit):
		return out, exit.ExitCode()
	}
	t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	return "", 0
}

// watching runs a kubectl that goes on writing lines, until the test ends.
func watching(t *testing.T, args ...string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, filepath.Join(world.bin, "tools", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+world.plane.Kubeconfig)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = cmd.Wait() // it was killed
	})
	return lines
}

func TestKubectlExplainsBothForms(t *testing.T) {
	explain := func(args ...string) string {
		out, code := kubectlExit(t, "", append([]string{"explain"}, args...)...)
		if code != 0 {
			t.Fatalf("kubectl explain %v: %s", args, out)
		}
		return out
	}
	for name, f := range bothForms {
		t.Run(name, func(t *testing.T) {
			out := explain("fcm.spec.placementMask", "--api-version=types.kubefed.io/"+f.version)
			for _, want := range []string{"VERSION:    " + f.version, f.list + "\t<[]Object>", "says where the plane may change anything now"} {
				if !strings.Contains(out, want) {
					t.Errorf("explain does not say %q:\n%s", want, out)
				}
			}
			if out := explain("fcm.spec.overrides", "--api-version=types.kubefed.io/"+f.version); !strings.Contains(out, f.overrides) {
				t.Errorf("explain does not say %q:\n%s", f.overrides, out)
			}
		})
	}
	if out := explain("fdeploy"); !strings.Contains(out, "VERSION:    v2beta1") {
		t.Errorf("the topology form is not the preferred one:\n%s", out)
	}
}

func TestKubectlsTableTellsTheStoryInBothForms(t *testing.T) {
	w := newTenant(t, "table", "a "+east, "b "+west)
	w.apply(topologyForm.config(w, "web", "1", "placement: "+topologyForm.in(w, "a", "b")))
	w.told("web", "True")
	w.apply(topologyForm.config(w, "web", "2", "placement: "+topologyForm.in(w, "a", "b"), "placementMask: "+topologyForm.in(w, "a")))
	w.has("web", "a=2")
	w.told("web", "True")
	for _, resource := range []string{"fcm", clusterForm.resource, topologyForm.resource} {
		for wide, want := range map[string][2]string{
			"":     {"NAME UNITS HEALTHY HELD PROPAGATION AGE", "web 1/2 2/2 1 True"},
			"wide": {"NAME UNITS HEALTHY HELD PROPAGATION REASON TYPE AGE", "web 1/2 2/2 1 True cell"},
		} {
			lines := strings.Split(w.kubectl("get", resource, "-n", w.ns, "-o", wide), "\n")
			head, row := strings.Join(strings.Fields(lines[0]), " "), strings.Join(strings.Fields(lines[1]), " ")
			if head != want[0] || !strings.HasPrefix(row, want[1]+" ") {
				t.Errorf("get %s -o %q prints\n%s\n%s\nwant\n%s\n%s …", resource, wide, head, row, want[0], want[1])
			}
		}
	}
	if got := w.kubectl("get", "fcm", "web", "-n", w.ns, "-o", "jsonpath={.apiVersion}"); got != "types.kubefed.io/v2beta1" {
		t.Errorf("kubectl get without a version speaks %s, want the topology form", got)
	}
}

func TestKubectlWorksInEachForm(t *testing.T) {
	w := newTenant(t, "kubectl", "a "+east, "b "+west)
	editor := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's/version: \"2\"/version: \"3\"/' \"$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBE_EDITOR", editor)
	for title, f := range bothForms {
		t.Run(title, func(t *testing.T) {
			w := &tenant{T: t, ns: w.ns, at: w.at}
			name := f.version
			resource := f.resource + "/" + name
			first := f.config(w, name, "1", "placement: "+f.in(w, "a"))
			if out, code := kubectlExit(t, first, "diff", "-f", "-"); code != 1 || !strings.Contains(out, "+  topologyType: cell") {
				t.Errorf("diff of an object that is not there ends with %d:\n%s", code, out)
			}
			w.apply(first)
			w.kubectl("wait", "--for=condition=Propagation", resource, "-n", w.ns, "--timeout=20s")
			w.has(name, "a=1")
			lines := watching(t, "get", f.resource, name, "-n", w.ns, "-w", "--output-watch-events",
				"-o", "jsonpath={.type} {.object.apiVersion} {.object.spec.template.data.version} {.object.spec.placement."+f.list+"[*].name}{\"\\n\"}")

			second := f.config(w, name, "2", "placement: "+f.in(w, "a"))
			out, code := kubectlExit(t, second, "diff", "-f", "-")
			if code != 1 || !strings.Contains(out, `-      version: "1"`) || !strings.Contains(out, `+      version: "2"`) {
				t.Errorf("diff ends with %d and\n%s", code, out)
			}
			w.apply(second)
			w.has(name, "a=2")
			if out, code := kubectlExit(t, second, "diff", "-f", "-"); code != 0 || out != "" {
				t.Errorf("diff of what is there already ends with %d and\n%s", code, out)
			}
			w.kubectl("edit", resource, "-n", w.ns)
			w.has(name, "a=3")
			w.kubectl("patch", resource, "-n", w.ns, "--type=merge", "-p", `{"spec":{"template":{"data":{"version":"4"}},"placement":{"`+f.list+`":[{"name":"`+f.name(w, "b")+`"}]}}}`)
			w.has(name, "a=", "b=4")
			w.kubectl("patch", resource, "-n", w.ns, "--type=json", "-p", `[{"op":"replace","path":"/spec/template/data/version","value":"5"},
				{"op":"add","path":"/spec/placement/`+f.list+`/-","value":{"name":"`+f.name(w, "a")+`"}}]`)
			w.has(name, "a=5", "b=5")

			seen := map[string]bool{}
			want := []string{"1 " + f.name(w, "a"), "2 " + f.name(w, "a"), "3 " + f.name(w, "a"), "4 " + f.name(w, "b"), "5 " + f.name(w, "b") + " " + f.name(w, "a")}
			w.eventually(func() error {
				for {
					select {
					case line := <-lines:
						_, rest, _ := strings.Cut(line, " ") // ADDED or MODIFIED
						seen[rest] = true
						continue
					default:
					}
					for _, s := range want {
						if !seen["types.kubefed.io/"+f.version+" "+s] {
							return fmt.Errorf("get -w never showed %q, but %v", s, seen)
						}
					}
					return nil
				}
			})
		})
	}
}

func TestServerSideApplyWorksInEachForm(t *testing.T) {
	w := newTenant(t, "ssa", "a "+east)
	for title, f := range bothForms {
		t.Run(title, func(t *testing.T) {
			w := &tenant{T: t, ns: w.ns, at: w.at}
			name := f.version
			apply := func(version, manager string, more ...string) (string, int) {
				return kubectlExit(t, f.config(w, name, version, more...), "apply", "--server-side", "--field-manager="+manager, "-f", "-")
			}
			if out, code := apply("1", "release", "placement: "+f.in(w, "a"), "placementMask: "+f.in(w, "a")); code != 0 {
				t.Fatal(out)
			}
			w.has(name, "a=1")
			// What a manager does not say any more goes away.
			if out, code := apply("2", "release", "placement: "+f.in(w, "a")); code != 0 {
				t.Fatal(out)
			}
			w.has(name, "a=2")
			if _, there, _ := unstructured.NestedMap(f.read(w, name).Object, "spec", "placementMask"); there {
				t.Error("the mask is still there, though its only manager does not apply it any more")
			}
			out, code := apply("3", "somebody")
			if code == 0 || !strings.Contains(out, `conflict with "release": .spec.template.data.version`) {
				t.Errorf("another manager's template is taken without a word (%d):\n%s", code, out)
			}
		})
	}
}
