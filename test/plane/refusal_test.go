package plane

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cellfed/cellfed/test/harness"
)

// refusal runs cellfed with arguments that cannot work and returns what it
// wrote. It must end by itself, soon, with one line and an exit code.
func refusal(t *testing.T, args ...string) string {
	t.Helper()
	binary, err := harness.Binary("cellfed")
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	// A server that is not refused would run for ever.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	begun := time.Now()
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	said := stderr.String()
	if stdout.Len() != 0 || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "cellfed: ") {
		t.Errorf("it did not say one clear line:\n%s%s", stdout.String(), said)
	}
	return said
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAServerIsRefusedInOneLineWhen(t *testing.T) {
	t.Parallel()
	const header = "apiVersion: config.cellfed.io/v1alpha1\nkind: CellFedConfiguration\n"
	for name, tc := range map[string]struct {
		args []string
		file string
		want string
	}{
		"it has no data directory":              {args: []string{}, want: "dataDir: Required value"},
		"a flag is unknown":                     {args: []string{"--dat-dir=x"}, want: "unknown flag: --dat-dir"},
		"there are arguments":                   {args: []string{"now"}, want: `"now"`},
		"the port is no number":                 {args: []string{"--secure-port=https"}, want: "--secure-port"},
		"the port is too high":                  {args: []string{"--data-dir=x", "--secure-port=70000"}, want: "securePort: Invalid value: 70000"},
		"the address is a name":                 {args: []string{"--data-dir=x", "--bind-address=localhost"}, want: "bindAddress: Invalid value"},
		"a part is unknown":                     {args: []string{"--data-dir=x", "--controllers=*,-nonsense"}, want: `components[1]: Invalid value: "-nonsense"`},
		"the configuration file is not there":   {args: []string{"--config=/nonexistent/file"}, want: "/nonexistent/file"},
		"the file has an unknown field":         {file: header + "dataDir: x\nclusterHealthCheck: {perod: 1s}\n", want: `unknown field "clusterHealthCheck.perod"`},
		"the file is of another kind":           {file: "apiVersion: v1\nkind: Config\n", want: "no kind"},
		"the file has a topology type cluster":  {file: header + "dataDir: x\ntopologyTypes: [cell, cluster]\n", want: "topologyTypes[1]: Forbidden"},
		"a flag spoils what the file says well": {args: []string{"--secure-port=-1"}, file: header + "dataDir: x\nsecurePort: 1234\n", want: "securePort: Invalid value: -1"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"server"}, tc.args...)
			if tc.file != "" {
				args = append(args, "--config="+file(t, []byte(tc.file)))
			}
			if said := refusal(t, args...); !strings.Contains(said, tc.want) {
				t.Errorf("it said %swhich does not contain %q", said, tc.want)
			}
		})
	}
}

func TestAServerIsRefusedByWhatItFindsWhen(t *testing.T) {
	t.Parallel()
	t.Run("a file stands where the data directory should be", func(t *testing.T) {
		if said := refusal(t, "server", "--secure-port=0", "--data-dir="+file(t, nil)); !strings.Contains(said, "not a directory") {
			t.Errorf("it said %s", said)
		}
	})
	t.Run("the data directory cannot be made", func(t *testing.T) {
		if said := refusal(t, "server", "--secure-port=0", "--data-dir=/proc/cellfed"); !strings.Contains(said, "/proc/cellfed") {
			t.Errorf("it said %s", said)
		}
	})
	t.Run("the database is junk", func(t *testing.T) {
		junk := file(t, bytes.Repeat([]byte("no database "), 5000))
		if said := refusal(t, "server", "--secure-port=0", "--data-dir="+t.TempDir(), "--storage=sqlite://"+junk); !strings.Contains(said, junk) {
			t.Errorf("it said %s", said)
		}
	})
	t.Run("the port is taken", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if said := refusal(t, "server", "--data-dir="+t.TempDir(), "--secure-port="+port); !strings.Contains(said, "address already in use") {
			t.Errorf("it said %s", said)
		}
	})
	t.Run("another server has the data directory", func(t *testing.T) {
		p := harness.RunPlane(t, harness.PlaneOptions{})
		if said := refusal(t, "server", "--secure-port=0", "--data-dir="+p.DataDir); !strings.Contains(said, "in use by another process") {
			t.Errorf("it said %s", said)
		}
		// The one that was there first is none the worse.
		if _, err := client(t, p).Discovery().ServerVersion(); err != nil {
			t.Error(err)
		}
	})
	t.Run("its encryption key is gone", func(t *testing.T) {
		p := harness.RunPlane(t, harness.PlaneOptions{})
		if _, _, err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(p.DataDir, "pki", "encryption.yaml")); err != nil {
			t.Fatal(err)
		}
		if said := refusal(t, "server", "--secure-port=0", "--data-dir="+p.DataDir); !strings.Contains(said, "encryption key") {
			t.Errorf("it said %s", said)
		}
	})
}

func TestKeysThatCannotBeReadLeaveNoDataDirectoryBehind(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{"there is no such file": filepath.Join(t.TempDir(), "no.keys"), "it is another file": file(t, []byte("kind: Secret\n"))} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if said := refusal(t, "keys", "import", "--data-dir="+dir, "--in="+in); !strings.Contains(said, in) {
				t.Errorf("it does not say which file: %s", said)
			}
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the data directory is there: %v", err)
			}
		})
	}
}
