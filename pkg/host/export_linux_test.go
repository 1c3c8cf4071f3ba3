package host

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// happenings is what the kernel tells of a directory until now: names and what happened to each.
func happenings(t *testing.T, watch int) map[string]uint32 {
	t.Helper()
	all := map[string]uint32{}
	buffer := make([]byte, 1<<16)
	n, err := syscall.Read(watch, buffer)
	if err != nil {
		t.Fatal(err)
	}
	for rest := buffer[:n]; len(rest) >= syscall.SizeofInotifyEvent; {
		mask, size := binary.NativeEndian.Uint32(rest[4:]), binary.NativeEndian.Uint32(rest[12:])
		name := rest[syscall.SizeofInotifyEvent : syscall.SizeofInotifyEvent+size]
		all[string(bytes.TrimRight(name, "\x00"))] |= mask
		rest = rest[syscall.SizeofInotifyEvent+size:]
	}
	return all
}

func TestAnExportGivesTheFileItsNameWhenItIsWhole(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	dir := t.TempDir()
	watch, err := syscall.InotifyInit1(syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(watch) }()
	if _, err := syscall.InotifyAddWatch(watch, dir, syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	if err := ExportKeys(d.Path(), filepath.Join(dir, "plane.keys")); err != nil {
		t.Fatal(err)
	}
	told := happenings(t, watch)
	if what := told["plane.keys"]; what == 0 || what&syscall.IN_MODIFY != 0 {
		t.Errorf("what happened to the file is %#x: it was written under its name, so that a kill leaves half of it", what)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("there are %v, %v", left, err)
	}
}

// The environment of a test that runs again as a process of its own: what to export, and where to.
const exportFrom, exportTo = "CELLFED_TEST_EXPORT_FROM", "CELLFED_TEST_EXPORT_TO"

func TestAnExportToAFullDiskLeavesNothing(t *testing.T) {
	if from := os.Getenv(exportFrom); from != "" { // here, no file may have more than some bytes
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100, Max: 100}); err != nil {
			t.Fatal(err)
		}
		t.Fatal(ExportKeys(from, os.Getenv(exportTo)))
	}
	d := open(t)
	keys(t, d, start, local)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAnExportToAFullDiskLeavesNothing$")
	cmd.Env = append(os.Environ(), exportFrom+"="+d.Path(), exportTo+"="+filepath.Join(dir, "plane.keys"))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "writing keys: ") {
		t.Fatalf("the export ended with %v\n%s", err, out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("there are %v, %v", left, err)
	}
}
