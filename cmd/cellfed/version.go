package main

import (
	"fmt"
	"runtime/debug"
)

// versionLine tells what this binary is and what it is built on, from what the
// Go toolchain wrote into it.
func versionLine() string {
	own, libraries, revision := "unknown", "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		own = info.Main.Version
		for _, m := range info.Deps {
			if m.Path == "k8s.io/kubernetes" {
				libraries = m.Version
			}
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " (" + s.Value + ")"
			}
		}
	}
	return fmt.Sprintf("cellfed %s%s, Kubernetes %s", own, revision, libraries)
}
