// Command crdgen finishes what controller-gen wrote: our types embed KubeFed's, so controller-gen finds KubeFed's own
// roots of the same group and version too: it lists them as second versions of the same name, in no order, gives what
// markers say (stored, subresources, table columns) to whichever comes first, and mixes KubeFed's table columns with
// ours. Ours is the version whose schema says more, since it embeds KubeFed's; and of two columns that show the same
// only the one with a proper heading is ours.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crdgen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: crdgen DIR")
	}
	files, err := filepath.Glob(filepath.Join(args[0], "*.yaml"))
	if err != nil {
		return fmt.Errorf("listing %s: %w", args[0], err)
	}
	for _, f := range files {
		if err := keepOurVersion(f); err != nil {
			return fmt.Errorf("finishing %s: %w", f, err)
		}
	}
	return nil
}

func keepOurVersion(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		return err
	}
	spec := crd["spec"].(map[string]any)
	ours, err := oursOf(spec["versions"].([]any))
	if err != nil {
		return err
	}
	if columns, ok := ours["additionalPrinterColumns"].([]any); ok {
		ours["additionalPrinterColumns"] = ourColumns(columns)
	}
	spec["versions"] = []any{ours}
	out, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(file, out, 0o644)
}

// oursOf is the version that is ours, with what markers say of it.
func oursOf(versions []any) (map[string]any, error) {
	var marked, ours map[string]any
	most := 0
	for _, v := range versions {
		version := v.(map[string]any)
		if version["storage"] == true {
			if marked != nil {
				return nil, fmt.Errorf("two stored versions, want one")
			}
			marked = version
		}
		// Where both declare the same, ours is the one that speaks of the plane: the order here is no order.
		if n := size(version["schema"]); n > most || n == most && speaksOfThePlane(version["schema"]) {
			ours, most = version, n
		}
	}
	if marked == nil {
		return nil, fmt.Errorf("no stored version: say +kubebuilder:storageversion")
	}
	marked["schema"] = ours["schema"]
	return marked, nil
}

// speaksOfThePlane tells our description of a kind from KubeFed's, which knows no plane.
func speaksOfThePlane(schema any) bool {
	s, _ := schema.(map[string]any)
	root, _ := s["openAPIV3Schema"].(map[string]any)
	words, _ := root["description"].(string)
	return strings.Contains(words, "the plane")
}

// size counts what a schema declares. Words do not count.
func size(schema any) int {
	n := 0
	switch s := schema.(type) {
	case map[string]any:
		for _, v := range s {
			n += 1 + size(v)
		}
	case []any:
		for _, v := range s {
			n += 1 + size(v)
		}
	}
	return n
}

// ourColumns leaves out KubeFed's columns: their headings are in lower case.
func ourColumns(columns []any) []any {
	var out []any
	for _, c := range columns {
		name, _ := c.(map[string]any)["name"].(string)
		if name != strings.ToLower(name) {
			out = append(out, c)
		}
	}
	return out
}
