package harness

// FederatedConfigMaps has a plane serve and propagate FederatedConfigMaps.
const FederatedConfigMaps = `
apiVersion: core.kubefed.io/v1beta1
kind: FederatedTypeConfig
metadata: {namespace: kube-federation-system, name: configmaps}
spec:
  propagation: Enabled
  targetType: {version: v1, kind: ConfigMap, pluralName: configmaps, scope: Namespaced}
  federatedType: {group: types.kubefed.io, version: v1beta1, kind: FederatedConfigMap, pluralName: federatedconfigmaps, scope: Namespaced}
`
