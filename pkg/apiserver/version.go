package apiserver

import (
	"runtime/debug"
	"sync"
)

// KubernetesVersion is the version of the Kubernetes libraries in this binary, as
// far as the build tells, and empty otherwise.
func KubernetesVersion() string { return moduleVersion() }

var moduleVersion = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "k8s.io/kubernetes" {
			return m.Version
		}
	}
	return ""
})
