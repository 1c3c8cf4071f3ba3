package playground

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Layout names the files of a playground directory.
type Layout struct {
	// Dir is the playground's directory; absolute.
	Dir string
}

// NewLayout takes a directory as a user writes it.
func NewLayout(dir string) (Layout, error) {
	if dir == "" {
		return Layout{}, errors.New("no directory given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("finding directory %s: %w", dir, err)
	}
	return Layout{Dir: abs}, nil
}

// Member is the directory of one member.
func (l Layout) Member(name string) string { return filepath.Join(l.Dir, name) }

// Kubeconfig is a member's administrator kubeconfig.
func (l Layout) Kubeconfig(name string) string { return filepath.Join(l.Dir, name, "kubeconfig") }

// Log is what a member's process prints.
func (l Layout) Log(name string) string { return filepath.Join(l.Dir, name, "log") }

// AuditLog is where a member's API server logs requests, when asked to.
func (l Layout) AuditLog(name string) string { return filepath.Join(l.Dir, name, "audit.log") }

func (l Layout) port(name string) string { return filepath.Join(l.Dir, name, "port") }
func (l Layout) lock() string            { return filepath.Join(l.Dir, "playground.lock") }
func (l Layout) control() string         { return filepath.Join(l.Dir, "playground.json") }

// MemberNames are the names of n members that nobody named.
func MemberNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("member-%d", i+1)
	}
	return names
}

// checkNames says what is wrong with the names of members, if anything.
func checkNames(names []string) error {
	if len(names) == 0 {
		return errors.New("no members asked for")
	}
	seen := map[string]bool{}
	for _, name := range names {
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return fmt.Errorf("member name %q: %s", name, strings.Join(problems, "; "))
		}
		if seen[name] {
			return fmt.Errorf("member name %q is there twice", name)
		}
		seen[name] = true
	}
	return nil
}

// Ports of members are taken from below the range from which systems hand out ports of their own accord, so
// that the port of a stopped member is still free when it starts again.
const firstPort, lastPort = 20000, 29999

// ensurePort reads a member's port, or chooses a free one and writes it down.
func (l Layout) ensurePort(name string) (int, error) {
	data, err := os.ReadFile(l.port(name))
	switch {
	case err == nil:
		port, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil || port <= 0 || port > 65535 {
			return 0, fmt.Errorf("reading port of %s: %s holds no port number", name, l.port(name))
		}
		return port, nil
	case !errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("reading port of %s: %w", name, err)
	}
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(l.port(name), []byte(strconv.Itoa(port)+"\n"), 0o600); err != nil {
		return 0, fmt.Errorf("writing port of %s: %w", name, err)
	}
	return port, nil
}

// freePort finds a port nobody listens on. The start is random, so that playgrounds that start at the same
// moment do not race for the same one.
func freePort() (int, error) {
	const count = lastPort - firstPort + 1
	start := rand.IntN(count)
	for i := range count {
		port := firstPort + (start+i)%count
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("trying port %d: %w", port, err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
