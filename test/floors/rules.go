package floors

import (
	"fmt"
	"path"
	"strings"
)

// Rules are the laws of the house that its source can break. Each returns what breaks it, with the reason.
var Rules = map[string]func(Package) []string{
	"every package has a floor":                   hasFloor,
	"imports go down":                             importsGoDown,
	"pure packages know values only":              isPure,
	"words say, and do nothing":                   onlyWords,
	"heavy libraries have one door":               usesDoors,
	"nothing below cmd ends the process":          doesNotExit,
	"every package says what it is":               isDocumented,
	"a package's name says what is in it":         isNamed,
	"what ships does not depend on what tests it": doesNotImportTests,
}

// lived are the folders whose packages live on floors.
func lived(dir string) bool {
	return within(dir, "pkg") || within(dir, "webhooks") || within(dir, "proxy") || within(dir, "cmd")
}

func hasFloor(p Package) []string {
	if _, ok := floorOf(p.Dir); ok || !lived(p.Dir) {
		return nil
	}
	return []string{fmt.Sprintf("say on which floor %s lives, in test/floors/house.go: a package nobody placed imports whatever is at hand", p.Dir)}
}

func importsGoDown(p Package) []string {
	mine, ok := floorOf(p.Dir)
	if !ok {
		return nil
	}
	return eachImport(p, false, func(imported string) string {
		dir, ours := strings.CutPrefix(imported, Module+"/")
		if !ours {
			return ""
		}
		theirs, ok := floorOf(dir)
		switch {
		case !ok:
			return ""
		case within(dir, "cmd") && !within(p.Dir, "cmd"):
			return fmt.Sprintf("%s is a command: what others need of it belongs into pkg", dir)
		case theirs > mine:
			return fmt.Sprintf("%s is on floor %s and this package on %s; imports go down, so that the lower floor can be understood, tested and changed without the upper one", dir, theirs, mine)
		}
		return ""
	})
}

func isPure(p Package) []string {
	floor, ok := floorOf(p.Dir)
	if !ok || !floor.pure() {
		return nil
	}
	reason := "the floors " + Laws.String() + " and " + Plan.String() + " are pure (values in, values out), so that every law can be tested by a table"
	out := eachImport(p, false, func(imported string) string {
		for _, i := range impure {
			if within(imported, i.library) {
				return fmt.Sprintf("%s: %s; %s", imported, i.reason, reason)
			}
		}
		return ""
	})
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		for _, g := range f.Goroutines {
			out = append(out, fmt.Sprintf("%s:%d starts a goroutine; %s", f.Path, g.Line, reason))
		}
		for _, c := range f.Calls {
			if name, ok := strings.CutPrefix(c.What, "time."); ok && clock[name] {
				out = append(out, fmt.Sprintf("%s:%d uses %s: the time arrives as a value; %s", f.Path, c.Line, c.What, reason))
			}
		}
	}
	return out
}

func onlyWords(p Package) []string {
	if floor, ok := floorOf(p.Dir); !ok || floor != Words {
		return nil
	}
	return eachImport(p, false, func(imported string) string {
		for _, n := range notWords {
			if within(imported, n.library) {
				return fmt.Sprintf("%s: %s", imported, n.reason)
			}
		}
		// Registering types needs its scheme builder, which is a leaf.
		if within(imported, "sigs.k8s.io/controller-runtime") && imported != "sigs.k8s.io/controller-runtime/pkg/scheme" {
			return imported + ": every binary links the words, also those without a controller"
		}
		return ""
	})
}

func usesDoors(p Package) []string {
	var out []string
	for _, d := range doors {
		if allowed(p.Dir, d.allowed) {
			continue
		}
		out = append(out, eachImport(p, d.tests, func(imported string) string {
			if within(imported, d.library) {
				return fmt.Sprintf("%s may be imported by %s only: %s", imported, strings.Join(d.allowed, ", "), d.reason)
			}
			return ""
		})...)
	}
	return out
}

func allowed(dir string, folders []string) bool {
	for _, f := range folders {
		if within(dir, f) {
			return true
		}
	}
	return false
}

func doesNotExit(p Package) []string {
	if !lived(p.Dir) || within(p.Dir, "cmd") {
		return nil
	}
	var out []string
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		for _, c := range f.Calls {
			if exits[c.What] {
				out = append(out, fmt.Sprintf("%s:%d %s ends the process: return an error; whoever ends a process must first have ended what it started, and only cmd knows that", f.Path, c.Line, c.What))
			}
		}
	}
	return out
}

func isDocumented(p Package) []string {
	if p.Documented {
		return nil
	}
	return []string{fmt.Sprintf("%s has no package comment: say in doc.go what it does, what it must not do, and why it is like this", p.Dir)}
}

func isNamed(p Package) []string {
	for _, name := range []string{p.Name, path.Base(p.Dir)} {
		if homeless[strings.TrimSuffix(name, "_test")] {
			return []string{fmt.Sprintf("%s is called %s, which says nothing about what is in it, so everything ends there: name it after what it knows", p.Dir, name)}
		}
	}
	return nil
}

func doesNotImportTests(p Package) []string {
	if within(p.Dir, "test") {
		return nil
	}
	return eachImport(p, false, func(imported string) string {
		if within(imported, Module+"/test") {
			return imported + " is there for tests: what ships must not depend on it"
		}
		return ""
	})
}

// eachImport asks about every import of a package, in its test files too if tests is set.
func eachImport(p Package, tests bool, fault func(imported string) string) []string {
	var out []string
	for _, f := range p.Files {
		if f.Test && !tests {
			continue
		}
		for _, imported := range f.Imports {
			if says := fault(imported); says != "" {
				out = append(out, f.Path+" imports "+says)
			}
		}
	}
	return out
}

// LinksTooMuch tells what a package that should stay small links, given all packages that it is made of.
func LinksTooMuch(name string, linked []string) []string {
	var out []string
	for _, forbidden := range small[name].forbidden {
		for _, l := range linked {
			if within(l, forbidden) {
				out = append(out, fmt.Sprintf("%s links %s and must stay small: %s", name, l, small[name].reason))
				break
			}
		}
	}
	return out
}
