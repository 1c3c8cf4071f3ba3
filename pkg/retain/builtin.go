package retain

import "k8s.io/apimachinery/pkg/runtime/schema"

func at(tokens ...string) rule { return rule{path: tokens, mode: always} }

func (f rule) unlessGiven() rule      { f.mode = unlessGiven; return f }
func (f rule) atLeast() rule          { f.mode = atLeast; return f }
func (f rule) within() rule           { f.noParents = true; return f }
func (f rule) settled() rule          { f.once = true; return f }
func (f rule) by(keys ...string) rule { f.keys = keys; return f }
func (f rule) when(value string, tokens ...string) rule {
	f.condition, f.conditionValue = tokens, value
	return f
}

// builtin are the fields that Kubernetes' own machinery sets in a member.
var builtin = map[schema.GroupKind][]rule{
	{Kind: "Service"}: {
		at("spec", "clusterIP"), at("spec", "clusterIPs"), at("spec", "healthCheckNodePort"),
		at("spec", "ports", "*", "nodePort").by("name", "protocol", "port"),
		at("spec", "ipFamilies").unlessGiven().settled(), at("spec", "ipFamilyPolicy").unlessGiven().settled(),
		at("spec", "loadBalancerClass").unlessGiven().settled(),
	},
	{Kind: "ServiceAccount"}: {at("secrets").unlessGiven()},
	{Kind: "Namespace"}:      {at("spec", "finalizers")},
	{Kind: "PersistentVolume"}: {
		at("spec", "claimRef"),
	},
	{Kind: "PersistentVolumeClaim"}: {
		at("spec", "volumeName").unlessGiven(), at("spec", "storageClassName").unlessGiven(),
		at("spec", "volumeAttributesClassName").unlessGiven(),
		at("spec", "volumeMode").unlessGiven().settled(),
		at("spec", "dataSource").unlessGiven().settled(), at("spec", "dataSourceRef").unlessGiven().settled(),
		at("spec", "resources", "requests", "storage").atLeast(),
	},
	{Kind: "Pod"}: {
		at("spec", "nodeName").unlessGiven(), at("spec", "ephemeralContainers").unlessGiven(),
		at("spec", "serviceAccountName").unlessGiven().settled(), at("spec", "serviceAccount").unlessGiven().settled(),
		at("spec", "priority").unlessGiven().settled(), at("spec", "priorityClassName").unlessGiven().settled(),
		at("spec", "preemptionPolicy").unlessGiven().settled(), at("spec", "imagePullSecrets").unlessGiven().settled(),
		at("spec", "tolerations", "*").unlessGiven(), at("spec", "volumes", "*").unlessGiven().settled(),
		at("spec", "containers", "*", "volumeMounts", "*").unlessGiven().settled(),
		at("spec", "initContainers", "*", "volumeMounts", "*").unlessGiven().settled(),
		at("spec", "containers", "*", "resources").unlessGiven().settled(),
		at("spec", "initContainers", "*", "resources").unlessGiven().settled(),
	},
	{Kind: "Secret"}: {
		at("data", "token").unlessGiven().when("kubernetes.io/service-account-token", "type"),
		at("data", "ca.crt").unlessGiven().when("kubernetes.io/service-account-token", "type"),
		at("data", "namespace").unlessGiven().when("kubernetes.io/service-account-token", "type"),
	},
	{Group: "batch", Kind: "Job"}: {
		at("spec", "selector").unlessGiven().settled(),
		at("spec", "template", "metadata", "labels", "controller-uid").unlessGiven().settled(),
		at("spec", "template", "metadata", "labels", "job-name").unlessGiven().settled(),
		at("spec", "template", "metadata", "labels", "batch.kubernetes.io/controller-uid").unlessGiven().settled(),
		at("spec", "template", "metadata", "labels", "batch.kubernetes.io/job-name").unlessGiven().settled(),
		at("spec", "suspend").unlessGiven(),
	},
	{Group: "networking.k8s.io", Kind: "Ingress"}: {at("spec", "ingressClassName").unlessGiven().settled()},
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}: {
		at("webhooks", "*", "clientConfig", "caBundle").unlessGiven(),
	},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}: {
		at("webhooks", "*", "clientConfig", "caBundle").unlessGiven(),
	},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: {
		at("spec", "conversion", "webhook", "clientConfig", "caBundle").unlessGiven().within(),
	},
	{Group: "apiregistration.k8s.io", Kind: "APIService"}: {at("spec", "caBundle").unlessGiven()},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}: {
		at("rules").when("", "aggregationRule"),
	},
}
