package v1alpha1

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// Decode reads a configuration file, YAML or JSON. It is strict: an unknown or
// repeated field is an error that names the field's path, because a misspelt
// setting that silently does nothing is found out too late. Defaults are not set.
func Decode(data []byte) (*CellFedConfiguration, error) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		return nil, err
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	obj, gvk, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*CellFedConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected a CellFedConfiguration of %s, found %s", SchemeGroupVersion, gvk)
	}
	return c, nil
}
