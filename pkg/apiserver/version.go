package apiserver

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// kubernetesVersion is the version of the Kubernetes libraries in this binary,
// as far as the build tells, and the given major and minor version otherwise.
func kubernetesVersion(major, minor string) string {
	if v := moduleVersion(); v != "" {
		return v
	}
	return fmt.Sprintf("v%s.%s.0", major, minor)
}

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
