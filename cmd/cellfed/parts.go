package main

import (
	"net"

	"github.com/cellfed/cellfed/config/crd"
	configv1alpha1 "github.com/cellfed/cellfed/pkg/apis/config/v1alpha1"
	"github.com/cellfed/cellfed/pkg/apis/wellknown"
	"github.com/cellfed/cellfed/pkg/apiserver"
)

// planeConfig puts together what a plane is made of.
func planeConfig(c *configv1alpha1.CellFedConfiguration) (apiserver.Config, error) {
	crds, err := crd.All()
	if err != nil {
		return apiserver.Config{}, err
	}
	return apiserver.Config{
		DataDir:     c.DataDir,
		BindAddress: net.ParseIP(c.BindAddress),
		SecurePort:  int(*c.SecurePort),
		Storage:     c.Storage,
		CRDs:        crds,
		Namespaces:  []string{wellknown.FederationNamespace, wellknown.UnitsNamespace},
		Parts:       enabledParts(c),
	}, nil
}

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
