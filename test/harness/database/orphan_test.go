package database

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// orphaning says to a run of this test binary that it is to start a database and to be killed.
const orphaning = "CELLFED_TEST_ORPHANING"

func TestNothingOfAKilledTestBinaryStays(t *testing.T) {
	if os.Getenv(orphaning) != "" {
		m := RunMariaDB(t, MariaDBOptions{})
		fmt.Printf("\norphan %d %s\n", m.PID(), m.dir.path)
		select {}
	}
	tests := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	tests.Env = append(os.Environ(), orphaning+"=yes")
	out, err := tests.StdoutPipe()
	must(t, err)
	must(t, tests.Start())
	pid, dir := 0, ""
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "orphan" {
			pid, err = strconv.Atoi(fields[1])
			must(t, err)
			dir = fields[2]
		}
	}
	if pid == 0 {
		t.Fatal("no database was started")
	}

	other, err := newDirectory("mariadb")
	must(t, err)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the directory of a living test: %v", err)
	}
	must(t, tests.Process.Kill())
	_ = tests.Wait() // it was killed
	for deadline := time.Now().Add(10 * time.Second); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the database %d lives on", pid)
		}
	}
	must(t, other.remove())
	next, err := newDirectory("mariadb")
	must(t, err)
	must(t, next.remove())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of a killed test: %v", err)
	}
}
