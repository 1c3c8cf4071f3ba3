package main

import (
	"fmt"

	"github.com/cellfed/cellfed/pkg/apiserver"
	"github.com/cellfed/cellfed/pkg/version"
)

// versionLine tells what this binary is and what it is built on.
func versionLine() string {
	return fmt.Sprintf("cellfed %s (Kubernetes %s)", version.String(), apiserver.KubernetesVersion())
}
