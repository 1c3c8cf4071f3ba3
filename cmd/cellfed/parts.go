package main

import (
	configv1alpha1 "github.com/cellfed/cellfed/pkg/apis/config/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apiserver"
)

// parts lists all that can run beside the API server. The names are what
// --controllers and the file's components speak of.
func parts(_ *configv1alpha1.CellFedConfiguration) []apiserver.Part {
	return apiserver.Upstream()
}

// partNames are the names of all parts, for help and validation.
func partNames() []string {
	c := &configv1alpha1.CellFedConfiguration{}
	configv1alpha1.SetDefaults(c)
	var names []string
	for _, p := range parts(c) {
		names = append(names, p.Name)
	}
	return names
}

// enabledParts are the parts that the configuration switches on.
func enabledParts(c *configv1alpha1.CellFedConfiguration) []apiserver.Part {
	var on []apiserver.Part
	for _, p := range parts(c) {
		if c.Enabled(p.Name) {
			on = append(on, p)
		}
	}
	return on
}
