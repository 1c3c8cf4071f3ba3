package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cellfed/cellfed/pkg/host"
)

func newKeysCommand() *cobra.Command {
	keys := &cobra.Command{
		Use:   "keys",
		Short: "Hand the keys of a plane to its other servers, and certificates to proxy servers",
		Long: `Hand the keys of a plane to its other servers, and certificates to proxy servers.

All servers of one plane, that is, on one database, share its certificate
authorities, the key that signs service account tokens and the encryption of
secrets. Each makes certificates of its own for its own addresses.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	keys.AddCommand(newKeysExportCommand(), newKeysImportCommand(), newKeysProxyServerCommand())
	return keys
}

func newKeysExportCommand() *cobra.Command {
	var dataDir, out string
	cmd := &cobra.Command{
		Use:     "export",
		Short:   "Write the keys that all servers share into one file",
		Example: "  cellfed keys export --data-dir /var/lib/cellfed --out plane.keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" || out == "" {
				return errors.New("--data-dir and --out are needed")
			}
			if err := host.ExportKeys(dataDir, out); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "The keys are in %s. Whoever has that file is the plane: keep it in a vault, and nowhere else.\n", out)
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory of a server that has run; it may be running")
	cmd.Flags().StringVar(&out, "out", "", "file to write, with mode 0600; it must not be there")
	return cmd
}

func newKeysImportCommand() *cobra.Command {
	var dataDir, in string
	cmd := &cobra.Command{
		Use:     "import",
		Short:   "Bring the keys of another server into a data directory",
		Example: "  cellfed keys import --data-dir /var/lib/cellfed --in plane.keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if dataDir == "" || in == "" {
				return errors.New("--data-dir and --in are needed")
			}
			// Before the data directory is made: a mistyped name shall leave nothing behind.
			keys, err := host.ReadSharedKeys(in)
			if err != nil {
				return err
			}
			dir, err := host.OpenDir(dataDir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, dir.Close()) }()
			if err := dir.Import(keys); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has the plane's keys. Start the server with the plane's --storage.\n", dir.Path())
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory of a server that does not run; made when missing")
	cmd.Flags().StringVar(&in, "in", "", "file that cellfed keys export wrote")
	return cmd
}

func newKeysProxyServerCommand() *cobra.Command {
	var dataDir, out, plane string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "proxy-server",
		Short: "Make what a proxy server needs that runs on its own",
		Long: `Make the directory that cellfed-manager proxy runs from.

It holds a certificate for the server's addresses, the certificates of whom it
believes, and a kubeconfig with which it may see the plane's members and tell
where it is, and nothing else. The certificates are good for a year: run the
command again with the same directory to renew them, which a running server takes
up by itself.`,
		Example: "  cellfed keys proxy-server --data-dir /var/lib/cellfed --out proxy-1 --plane https://plane.example:6443 --host proxy-1.example --host 10.0.0.7",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" || out == "" || len(hosts) == 0 {
				return errors.New("--data-dir, --out and --host are needed")
			}
			if plane == "" {
				config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dataDir, "admin.kubeconfig"))
				if err != nil {
					return fmt.Errorf("reading where the plane is: %w; say --plane", err)
				}
				plane = config.Host
			}
			if u, err := url.Parse(plane); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
				return errors.New("--plane is no URL of the form https://HOST:PORT")
			}
			var ips []net.IP
			var names []string
			for _, h := range hosts {
				h = strings.ToLower(h)
				if ip := net.ParseIP(h); ip != nil {
					ips = append(ips, ip)
				} else if problems := validation.IsDNS1123Subdomain(h); len(problems) == 0 {
					names = append(names, h)
				} else {
					return fmt.Errorf("--host=%s is neither an IP address nor a name: give it without a port", h)
				}
			}
			if err := host.IssueProxyServer(dataDir, out, plane, ips, names, time.Now()); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s has what a proxy server needs, for the plane at %s. Start it with: cellfed-manager proxy --dir %s\n", out, plane, out)
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data directory of a server that has run; it may be running")
	cmd.Flags().StringVar(&out, "out", "", "directory to make, or to renew")
	cmd.Flags().StringVar(&plane, "plane", "", "URL of the plane as seen from the proxy server (default: as admin.kubeconfig says)")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "a name or IP address by which agents and the plane reach the server; may be given several times")
	return cmd
}
