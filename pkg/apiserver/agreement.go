package apiserver

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/cellfed/cellfed/pkg/host"
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
func checkAgreement(ctx context.Context, cfg Config, at place, stored generic.RESTOptionsGetter) error {
	ctx, cancel := context.WithTimeout(ctx, agreementTimeout)
	defer cancel()
	configMap, secret := &core.ConfigMap{}, &core.Secret{}
	configMaps, err := stored.GetRESTOptions(schema.GroupResource{Resource: "configmaps"}, configMap)
	if err != nil {
		return fmt.Errorf("finding the plane's fingerprints: %w", err)
	}
	secrets, err := stored.GetRESTOptions(schema.GroupResource{Resource: "secrets"}, secret)
	if err != nil {
		return fmt.Errorf("finding the plane's secrets: %w", err)
	}
	values, err := at.store.Read(ctx, agreementPath(configMaps), agreementPath(secrets))
	if err != nil {
		return err
	}
	if values[0] != nil && !cfg.ReplaceKeys {
		if err := decodeStored(ctx, configMaps, values[0], configMap); err != nil {
			return fmt.Errorf("reading the plane's fingerprints: %w", err)
		}
		if err := disagreement(agreed(configMap.Data, configMap.Annotations), at.fingerprints); err != nil {
			return err
		}
	}
	if values[1] != nil {
		// Without its plugin a server reads no secret, writes none, and is not ready: recordAgreement looks again.
		if err := decodeStored(ctx, secrets, values[1], secret); err != nil && at.plugins.Ready() == nil {
			return unreadable(cfg.KMS, err)
		}
	}
	return nil
}

// unreadable says what to do about secrets that this server cannot decrypt, or not encrypt.
func unreadable(with *host.KMS, err error) error {
	const keys = "bring it the plane's keys with cellfed keys export and import"
	if with == nil {
		return fmt.Errorf("this server cannot read the secrets that are in the database; %s: %w", keys, err)
	}
	return fmt.Errorf("this server cannot read the secrets that are in the database, or cannot write them with KMS %s; "+
		"see that the plugin at %s is well and has the key that the plane's other servers use, and, for what a local key or another KMS encrypted before, %s: %w",
		with.Name, with.Endpoint, keys, err)
}

// agreementPath is where the storage has the object of the agreement.
func agreementPath(of generic.RESTOptions) string {
	return path.Join("/", of.StorageConfig.Prefix, of.ResourcePrefix, agreementNamespace, agreementName)
}

// decodeStored reads an object as the API server stores it.
func decodeStored(ctx context.Context, of generic.RESTOptions, data []byte, into runtime.Object) error {
	if t := of.StorageConfig.Transformer; t != nil {
		plain, _, err := t.TransformFromStorage(ctx, data, value.DefaultContext(agreementPath(of)))
		if err != nil {
			return err
		}
		data = plain
	}
	return runtime.DecodeInto(of.StorageConfig.Codec, data, into)
}

// laterFingerprints are of keys that servers of former versions have not, and that stand where those do not look: a server
// refuses a plane that has fingerprints of keys which it does not know.
var laterFingerprints = map[string]string{"tunnel-ca": "keys.cellfed.io/tunnel-ca"}

// agreed are all fingerprints that a plane has on record.
func agreed(data, annotations map[string]string) map[string]string {
	out := maps.Clone(data)
	for name, annotation := range laterFingerprints {
		if fingerprint, there := annotations[annotation]; there {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = fingerprint
		}
	}
	return out
}

// onRecord are fingerprints as a plane has them on record.
func onRecord(fingerprints map[string]string) (data, annotations map[string]string) {
	data, annotations = map[string]string{}, map[string]string{}
	for name, fingerprint := range fingerprints {
		if annotation, later := laterFingerprints[name]; later {
			annotations[annotation] = fingerprint
		} else {
			data[name] = fingerprint
		}
	}
	return data, annotations
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
			return disagreeing(cfg.KMS, err)
		}
	} else if err != nil {
		return disagreeing(cfg.KMS, err)
	}
	data, annotations := onRecord(mine)
	name.Annotations = annotations
	for {
		there, err := configMaps.Get(ctx, agreementName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			if there, err = configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: name, Data: data}, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("agreeing with other servers on keys: %w", err)
		}
		differ := disagreement(agreed(there.Data, there.Annotations), mine)
		if differ != nil && !cfg.ReplaceKeys {
			return differ
		}
		if differ == nil && containsAll(there.Annotations, annotations) {
			return nil
		}
		// Keys were replaced, or this is the first server with a kind of keys that is new.
		if differ != nil {
			there.Data = data
		}
		if there.Annotations == nil {
			there.Annotations = map[string]string{}
		}
		maps.Copy(there.Annotations, annotations)
		if _, err := configMaps.Update(ctx, there, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("agreeing with other servers on keys: %w", err)
		}
	}
}

func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// disagreeing tells why the Secret of the agreement could not be read or made. The API server calls whatever has to do with
// encryption an internal error.
func disagreeing(with *host.KMS, err error) error {
	if apierrors.IsInternalError(err) {
		return unreadable(with, err)
	}
	return fmt.Errorf("agreeing with other servers on encryption: %w", err)
}
