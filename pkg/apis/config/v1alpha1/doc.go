// Package v1alpha1 holds CellFedConfiguration, the configuration file of the
// cellfed binary, in the manner of Kubernetes' component configuration.
//
// It says what can be configured, what is assumed when nothing is said, and what
// is refused. It must not read files, look at the machine or start anything: the
// same file has to mean the same everywhere. There is one version only and no
// internal twin of it; a second version is the time to add one.
//
// +k8s:deepcopy-gen=package
// +groupName=config.cellfed.io
package v1alpha1
