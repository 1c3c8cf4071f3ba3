package annotation

import (
	"strings"

	"github.com/cellfed/cellfed/pkg/glob"
)

// reservedDomains are the plane's own and KubeFed's: keys below them say who made a copy and how it is kept.
var reservedDomains = []string{"cellfed.io", "kubefed.io"}

// machinery are keys, or with a final * beginnings of keys, that parts of Kubernetes write about the very object that
// they stand on. In a template they are there because somebody exported a live object.
var machinery = []string{
	"autoscaling.alpha.kubernetes.io/*",
	"batch.kubernetes.io/job-tracking",
	"control-plane.alpha.kubernetes.io/leader",
	"deployment.kubernetes.io/desired-replicas",
	"deployment.kubernetes.io/max-replicas",
	"deployment.kubernetes.io/revision",
	"deployment.kubernetes.io/revision-history",
	"deprecated.daemonset.template.generation",
	"endpoints.kubernetes.io/last-change-trigger-time",
	"endpoints.kubernetes.io/over-capacity",
	"kubectl.kubernetes.io/last-applied-configuration",
	"kubernetes.io/config.*",
	"kubernetes.io/service-account.uid",
	"pv.kubernetes.io/bind-completed",
	"pv.kubernetes.io/bound-by-controller",
	"pv.kubernetes.io/provisioned-by",
	"volume.beta.kubernetes.io/storage-provisioner",
	"volume.kubernetes.io/selected-node",
	"volume.kubernetes.io/storage-provisioner",
	"volume.kubernetes.io/storage-resizer",
}

// Reserved tells whether a key never propagates, whatever the patterns say.
func Reserved(key string) bool {
	if prefix, _, prefixed := strings.Cut(key, "/"); prefixed && reservedPrefix(prefix) {
		return true
	}
	for _, k := range machinery {
		if glob.Match(k, key) {
			return true
		}
	}
	return false
}

func reservedPrefix(prefix string) bool {
	for _, domain := range reservedDomains {
		if prefix == domain || strings.HasSuffix(prefix, "."+domain) {
			return true
		}
	}
	return false
}
