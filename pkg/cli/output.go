package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// Output formats.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

// addOutputFlag adds -o with the formats that a command knows; others are wrong usage.
func addOutputFlag(cmd *cobra.Command, output *string, formats ...string) {
	cmd.Flags().StringVarP(output, "output", "o", *output, "Output format: "+strings.Join(formats, ", "))
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *output != "" && !slices.Contains(formats, *output) {
			return usagef("--output=%s: want one of %s", *output, strings.Join(formats, ", "))
		}
		return nil
	}
}

// printStructured writes a value as JSON, or as YAML by its JSON names.
func printStructured(out io.Writer, format string, value any) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err == nil && format == outputYAML {
		raw, err = yaml.JSONToYAML(raw)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", format, err)
	}
	_, err = fmt.Fprintln(out, strings.TrimSuffix(string(raw), "\n"))
	return err
}
