package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/apis/core"
)

// What the servers of one plane must agree in is in the database, under one name: a ConfigMap with the fingerprints of
// the keys that they share, and a Secret that only who has the keys of encryption can read. Which keys of encryption
// there are is no matter, as long as each server can read what is there: so they can be rotated.
const (
	agreementNamespace = metav1.NamespaceSystem
	agreementName      = "cellfed-keys"
	agreementKey       = "readable"
)

// agreementTimeout bounds how long a server waits for its storage before it serves.
const agreementTimeout = 15 * time.Second

// checkAgreement refuses a server with other keys than the plane's before it serves anything. It reads the storage
// itself: a server that has begun to serve has already told the plane's clients whom it trusts.
func checkAgreement(ctx context.Context, cfg Config, stored generic.RESTOptionsGetter, mine map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, agreementTimeout)
	defer cancel()
	configMap := &core.ConfigMap{}
	there, err := readStored(ctx, stored, "configmaps", configMap, func() runtime.Object { return &core.ConfigMapList{} })
	if err != nil {
		return fmt.Errorf("reading the plane's fingerprints: %w", err)
	}
	if there && !cfg.ReplaceKeys {
		if err := disagreement(configMap.Data, mine); err != nil {
			return err
		}
	}
	if _, err := readStored(ctx, stored, "secrets", &core.Secret{}, func() runtime.Object { return &core.SecretList{} }); err != nil {
		return fmt.Errorf("this server cannot read the secrets that are in the database; bring it the plane's keys with cellfed keys export and import: %w", err)
	}
	return nil
}

// readStored reads the object of the agreement from the storage, past the API. False if it is not there.
func readStored(ctx context.Context, stored generic.RESTOptionsGetter, resource string, into runtime.Object, newList func() runtime.Object) (bool, error) {
	options, err := stored.GetRESTOptions(schema.GroupResource{Resource: resource}, into)
	if err != nil {
		return false, err
	}
	prefix := "/" + strings.TrimPrefix(options.ResourcePrefix, "/")
	store, destroy, err := factory.Create(*options.StorageConfig, into.DeepCopyObject, newList, prefix)
	if err != nil {
		return false, err
	}
	defer destroy()
	err = store.Get(ctx, prefix+"/"+agreementNamespace+"/"+agreementName, storage.GetOptions{}, into)
	if storage.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// disagreement tells which of a server's keys are not the plane's.
func disagreement(planes, mine map[string]string) error {
	var differ []string
	for name, fingerprint := range planes {
		if mine[name] != fingerprint {
			differ = append(differ, name)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	return fmt.Errorf("this server's keys are not those of the plane in the database (other %s): bring it the plane's with cellfed keys export and import, "+
		"or, if those are lost for good, start one server once with --replace-keys", strings.Join(differ, ", "))
}

// recordAgreement has the first server of a plane say which keys are the plane's. Two that come first at a time both
// try, and the one that comes second is judged by the other's.
func recordAgreement(ctx context.Context, cfg Config, loopback *rest.Config, mine map[string]string) error {
	if err := waitForNamespaces(ctx, loopback, []string{agreementNamespace}); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	secrets, configMaps := client.CoreV1().Secrets(agreementNamespace), client.CoreV1().ConfigMaps(agreementNamespace)
	name := metav1.ObjectMeta{Name: agreementName}
	// Whether it can be read was seen by checkAgreement, or is seen now.
	if _, err := secrets.Get(ctx, agreementName, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, &corev1.Secret{ObjectMeta: name, Data: map[string][]byte{agreementKey: []byte("true")}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = secrets.Get(ctx, agreementName, metav1.GetOptions{})
		}
		if err != nil {
			return fmt.Errorf("agreeing with other servers on encryption: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("agreeing with other servers on encryption: %w", err)
	}
	there, err := configMaps.Get(ctx, agreementName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if there, err = configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: name, Data: mine}, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
			there, err = configMaps.Get(ctx, agreementName, metav1.GetOptions{})
		}
	}
	if err == nil && cfg.ReplaceKeys && disagreement(there.Data, mine) != nil {
		there.Data = mine
		there, err = configMaps.Update(ctx, there, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("agreeing with other servers on keys: %w", err)
	}
	return disagreement(there.Data, mine)
}
