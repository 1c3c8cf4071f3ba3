// Command crdgen finishes what controller-gen wrote: our types embed KubeFed's, so controller-gen finds KubeFed's own
// roots of the same group and version too: it lists them as second versions, and mixes their table columns with ours.
// Only the stored version is ours, and of two columns that show the same only the one with a proper heading.
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
		if err := keepStoredVersions(f); err != nil {
			return fmt.Errorf("finishing %s: %w", f, err)
		}
	}
	return nil
}

func keepStoredVersions(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		return err
	}
	spec := crd["spec"].(map[string]any)
	var kept []any
	for _, v := range spec["versions"].([]any) {
		if v.(map[string]any)["storage"] == true {
			kept = append(kept, v)
		}
	}
	if len(kept) != 1 {
		return fmt.Errorf("%d stored versions, want one", len(kept))
	}
	stored := kept[0].(map[string]any)
	if columns, ok := stored["additionalPrinterColumns"].([]any); ok {
		stored["additionalPrinterColumns"] = ourColumns(columns)
	}
	spec["versions"] = kept
	out, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(file, out, 0o644)
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
