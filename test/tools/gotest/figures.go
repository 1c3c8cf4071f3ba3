package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cellfed/cellfed/pkg/progress"
)

// figures are what a stage came to.
type figures struct {
	Stage                             string
	Packages, Passed, Failed, Skipped int
	Seconds                           float64
}

func (f figures) String() string {
	return fmt.Sprintf("%s: %d passed, %d failed, %d skipped in %d packages, %s",
		f.Stage, f.Passed, f.Failed, f.Skipped, f.Packages, time.Duration(f.Seconds*float64(time.Second)).Round(time.Second/10))
}

func (f figures) appendTo(file string) error {
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("keeping the figures: %w", err)
	}
	defer out.Close()
	if err := json.NewEncoder(out).Encode(f); err != nil {
		return fmt.Errorf("keeping the figures in %s: %w", file, err)
	}
	return nil
}

func printTotal(file string) error {
	in, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the figures: %w", err)
	}
	defer in.Close()
	sum := figures{Stage: "all tests"}
	for dec := json.NewDecoder(in); ; {
		var f figures
		if err := dec.Decode(&f); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("reading the figures in %s: %w", file, err)
		}
		fmt.Println("  " + f.String())
		sum.Packages += f.Packages
		sum.Passed += f.Passed
		sum.Failed += f.Failed
		sum.Skipped += f.Skipped
		sum.Seconds += f.Seconds
	}
	fmt.Println(sum)
	return nil
}

// event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// reader counts events and prints what a person wants to know.
type reader struct {
	figures figures
	line    *progress.Line
	// output keeps what each running test and package said, until it is known whether anybody wants to read it.
	output map[string]*strings.Builder
	failed map[string]bool
	tests  map[string]int
}

func newReader(line *progress.Line) *reader {
	return &reader{line: line, output: map[string]*strings.Builder{}, failed: map[string]bool{}, tests: map[string]int{}}
}

func (r *reader) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		raw, err := lines.ReadBytes('\n')
		if len(raw) > 0 {
			var e event
			if json.Unmarshal(raw, &e) != nil {
				r.line.Printf("%s", strings.TrimSuffix(string(raw), "\n"))
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *reader) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		r.line.Printf("%s", strings.TrimSuffix(e.Output, "\n"))
	case "output":
		b := r.output[key]
		if b == nil {
			b = &strings.Builder{}
			r.output[key] = b
		}
		b.WriteString(e.Output)
	case "run":
		r.line.Set("  tests passed:", r.figures.Passed, 0, shortName(e.Package)+" "+e.Test)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, key)
		} else {
			r.endTest(e, key)
		}
		delete(r.output, key)
	}
}

func (r *reader) endTest(e event, key string) {
	r.tests[e.Package]++
	switch e.Action {
	case "pass":
		r.figures.Passed++
	case "skip":
		r.figures.Skipped++
		r.line.Printf("SKIP %s %s", shortName(e.Package), e.Test)
	case "fail":
		r.figures.Failed++
		r.failed[e.Package] = true
		r.tell(key)
	}
}

func (r *reader) endPackage(e event, key string) {
	switch {
	case e.Action == "fail":
		r.figures.Packages++
		if !r.failed[e.Package] {
			// No test of it failed: it did not build, panicked or ran out of time, and no count would show that.
			r.figures.Failed++
			for k := range r.output {
				if strings.HasPrefix(k, e.Package+" ") && k != key {
					r.tell(k)
				}
			}
		}
		r.tell(key)
		r.line.Printf("FAIL %-40s %6.1fs", shortName(e.Package), e.Elapsed)
	case r.tests[e.Package] > 0:
		r.figures.Packages++
		r.line.Printf("ok   %-40s %6.1fs %4d tests", shortName(e.Package), e.Elapsed, r.tests[e.Package])
	}
}

func (r *reader) tell(key string) {
	if b := r.output[key]; b != nil {
		r.line.Printf("%s", strings.TrimSuffix(b.String(), "\n"))
	}
}

func shortName(pkg string) string { return strings.TrimPrefix(pkg, "github.com/cellfed/cellfed/") }
