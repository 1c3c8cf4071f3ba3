package atrest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cellfed/cellfed/test/harness"
)

// plugin is a KMS plugin, a process of its own.
type plugin struct {
	dir, socket string
	process     *exec.Cmd
}

func startPlugin(t *testing.T) *plugin {
	t.Helper()
	dir := dataDir(t)
	k := &plugin{dir: dir, socket: filepath.Join(dir, "socket")}
	k.start(t)
	t.Cleanup(k.kill)
	return k
}

// start returns when the socket is there.
func (k *plugin) start(t *testing.T) {
	t.Helper()
	binary, err := harness.Binary(filepath.Join("tools", "kmsplugin"))
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's context: that ends before what the test started does.
	k.process = exec.CommandContext(context.WithoutCancel(t.Context()), binary, "-socket", k.socket, "-dir", k.dir)
	k.process.Stderr = os.Stderr
	if err := k.process.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, harnessTimeout, func(context.Context) error {
		_, err := os.Stat(k.socket)
		return err
	})
}

// kill ends the plugin as a crash does, and leaves its socket behind.
func (k *plugin) kill() {
	if k.process == nil {
		return
	}
	_ = k.process.Process.Kill()
	_ = k.process.Wait()
	k.process = nil
}

func (k *plugin) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := k.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// set gives the plugin a setting; none when it is empty.
func (k *plugin) set(t *testing.T, name, value string) {
	t.Helper()
	// At once: the plugin must not see half of it.
	tmp := filepath.Join(k.dir, "new")
	if err := os.WriteFile(tmp, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(k.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// config is a configuration of a plane with the plugin.
func (k *plugin) config(name string) string {
	return fmt.Sprintf("apiVersion: config.cellfed.io/v1alpha1\nkind: CellFedConfiguration\nencryption: {kms: {name: %s, endpoint: \"unix://%s\"}}\n", name, k.socket)
}
