package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/cellfed/cellfed/pkg/version"
)

type versionInfo struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this command",
		Example: "  kubectl cellfed version -o json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s takes no arguments", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			info := versionInfo{version.String(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if output == "" {
				_, err := fmt.Fprintf(streams.Out, "kubectl-cellfed %s (%s, %s)\n", info.Version, info.GoVersion, info.Platform)
				return err
			}
			return printStructured(streams.Out, output, info)
		},
	}
	addOutputFlag(cmd, &output, outputJSON, outputYAML)
	return cmd
}
