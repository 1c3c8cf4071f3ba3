// Command gobuild is `go build -o DIR PACKAGE…` that shows how far it is: it counts beforehand what is not in the build
// cache yet, and then the packages that the compiler reports. The first build of the plane compiles some 2,000 packages.
//
// Flags of go build stand after "--": gobuild -o bin ./cmd/cellfed -- -trimpath -ldflags '-s -w'.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cellfed/cellfed/pkg/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var flags []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, flags = args[:i], args[i+1:]
	}
	fs := flag.NewFlagSet("gobuild", flag.ContinueOnError)
	dir := fs.String("o", "bin", "the folder that the binaries are put into")
	if err := fs.Parse(args); err != nil {
		return err
	}
	packages := fs.Args()
	if len(packages) == 0 {
		return errors.New("usage: gobuild -o DIR PACKAGE… -- FLAGS OF GO BUILD")
	}

	line := progress.Start(os.Stdout, "reading "+strings.Join(packages, " "))
	total, err := countMissing(ctx, line, packages, flags)
	if err == nil {
		err = build(ctx, line, total, *dir, packages, flags)
	}
	line.Stop()
	if err != nil {
		return err
	}
	for _, p := range packages {
		file := filepath.Join(*dir, filepath.Base(p))
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("looking at what was built: %w", err)
		}
		fmt.Printf("built %s (%d MB)\n", file, info.Size()>>20)
	}
	fmt.Printf("%d packages compiled in %s\n", total, line.Elapsed())
	return nil
}

// countMissing tells how many packages have to be compiled. It downloads modules, and shows which.
func countMissing(ctx context.Context, line *progress.Line, packages, flags []string) (int, error) {
	args := slices.Concat([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, flags, packages)
	cmd := exec.CommandContext(ctx, "go", args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	downloaded := 0
	err := runReading(cmd, func(text string) bool {
		module, isDownload := strings.CutPrefix(text, "go: downloading ")
		if isDownload {
			downloaded++
			line.Set("downloading modules", downloaded, 0, module)
		}
		return isDownload
	})
	if err != nil {
		return 0, fmt.Errorf("listing what has to be compiled: %w", err)
	}
	return len(strings.Fields(out.String())), nil
}

func build(ctx context.Context, line *progress.Line, total int, dir string, packages, flags []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder for binaries: %w", err)
	}
	line.Set("compiling", 0, total, "")
	args := slices.Concat([]string{"build", "-v", "-o", dir + string(filepath.Separator)}, flags, packages)
	err := runReading(exec.CommandContext(ctx, "go", args...), func(text string) bool {
		// A package line is one word without a colon; everything else is the compiler complaining.
		if strings.HasPrefix(text, "#") || strings.ContainsAny(text, " :\t") {
			return false
		}
		line.Step(text)
		return true
	})
	if err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// runReading runs cmd and gives each line of its standard error to read. Lines that read does not want are told when
// the command fails: before that they are notes.
func runReading(cmd *exec.Cmd, read func(string) bool) error {
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var rest strings.Builder
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		if !read(lines.Text()) {
			rest.WriteString("\n" + lines.Text())
		}
	}
	// A line too long for the scanner must not leave the command writing into a full pipe.
	_, copyErr := io.Copy(io.Discard, pipe)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w%s", err, rest.String())
	}
	return errors.Join(lines.Err(), copyErr)
}
