package playground

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// reporter tells people what happens: plain lines, and on a terminal a moving line for who is still starting.
type reporter struct {
	out io.Writer

	mu sync.Mutex
	// waiting are the members that are starting, with since when.
	waiting map[string]time.Time
	// live is set on a terminal; drawn tells that a moving line stands there now.
	live, drawn bool
	frame       int
	stop        chan struct{}
}

func newReporter(out io.Writer) *reporter {
	r := &reporter{out: out, waiting: map[string]time.Time{}, stop: make(chan struct{})}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		r.live = true
		go r.animate()
	}
	return r
}

func (r *reporter) close() { close(r.stop) }

// line prints one lasting line.
func (r *reporter) line(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
	// Nobody is there to be told that telling failed.
	_, _ = fmt.Fprintf(r.out, format+"\n", args...)
}

func (r *reporter) starting(name string) {
	r.mu.Lock()
	r.waiting[name] = time.Now()
	r.mu.Unlock()
	if !r.live {
		r.line("member %s is starting", name)
	}
}

func (r *reporter) ready(name string, after time.Duration) {
	r.forget(name)
	r.line("member %s is ready after %.1fs", name, after.Seconds())
}

func (r *reporter) ended(name string, expected bool, message string) {
	r.forget(name)
	if expected {
		r.line("member %s has stopped", name)
		return
	}
	r.line("member %s died: %s", name, message)
}

func (r *reporter) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, name)
}

// erase removes the moving line, with mu held.
func (r *reporter) erase() {
	if r.drawn {
		_, _ = io.WriteString(r.out, "\r\x1b[K")
		r.drawn = false
	}
}

func (r *reporter) animate() {
	tick := time.NewTicker(120 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			r.draw()
		}
	}
}

func (r *reporter) draw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
	if len(r.waiting) == 0 {
		return
	}
	parts := make([]string, 0, len(r.waiting))
	for name, since := range r.waiting {
		parts = append(parts, fmt.Sprintf("%s %.0fs", name, time.Since(since).Seconds()))
	}
	sort.Strings(parts)
	frames := []string{"|", "/", "-", `\`}
	r.frame = (r.frame + 1) % len(frames)
	line := frames[r.frame] + " starting: " + strings.Join(parts, ", ")
	if width, _, err := term.GetSize(int(r.out.(*os.File).Fd())); err == nil && width > 1 && len(line) >= width {
		line = line[:width-1] // A line that wraps could not be erased.
	}
	_, _ = io.WriteString(r.out, line)
	r.drawn = true
}
