package host

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"
)

// encrypted are the resources that a new plane encrypts: secrets, and what may have the content of secrets in it, which is
// federated ones and the revisions of their templates. A plane that was made with fewer keeps to those until AddResources: what
// it stored as plain text would be unreadable.
var encrypted = []string{"secrets", "federatedsecrets.types.kubefed.io", "revisions.propagation.cellfed.io"}

// Encrypted are the resources that a new plane encrypts.
func Encrypted() []string { return slices.Clone(encrypted) }

// encryptionFile is the name of the file among the keys.
const encryptionFile = "encryption.yaml"

// KMS is a plugin that speaks the KMS v2 API of Kubernetes.
type KMS struct {
	Name, Endpoint string
	Timeout        time.Duration
}

// Encryption is the configuration of encryption at rest as its file has it. The file is also where the local keys are kept,
// and where it stands which services encrypted something before.
//
// It has no identity provider: a secret that stands in the database as plain text is not read, because this plane never wrote
// it. Resources that are joining are the exception, until Prune: they were written as plain text before, and are read so, never
// written. They have an entry of their own, at the end, so that this opens no way around the encryption of the others.
type Encryption struct {
	path   string
	data   []byte
	config apiserverv1.EncryptionConfiguration
}

// ReadEncryption reads the configuration of encryption at rest in a data directory, which another process may hold.
func ReadEncryption(dataDir string) (*Encryption, error) {
	e := &Encryption{path: filepath.Join(dataDir, "pki", encryptionFile)}
	var err error
	if e.data, err = os.ReadFile(e.path); err != nil {
		return nil, fmt.Errorf("reading encryption configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(e.data, &e.config); err != nil {
		return nil, fmt.Errorf("reading encryption configuration %s: %w", e.path, err)
	}
	if len(e.config.Resources) == 0 {
		return nil, fmt.Errorf("reading encryption configuration %s: it encrypts nothing", e.path)
	}
	for _, r := range e.config.Resources {
		if slices.ContainsFunc(r.Providers, isPlain) && !joining(r) {
			return nil, fmt.Errorf("reading encryption configuration %s: it has the provider identity, with which secrets can stand in the database as plain text: take it out", e.path)
		}
	}
	return e, nil
}

// Resources are what is encrypted.
func (e *Encryption) Resources() []string {
	var all []string
	for _, r := range e.config.Resources {
		all = append(all, r.Resources...)
	}
	return all
}

// Hash names the content of the file as the API server's metrics do.
func (e *Encryption) Hash() string { return fmt.Sprintf("sha256:%x", sha256.Sum256(e.data)) }

// Writer tells what encrypts what is written once a plane has started with this file.
func (e *Encryption) Writer() string {
	var writers, each []string
	for _, r := range e.config.Resources {
		writer := "nothing"
		if len(r.Providers) > 0 {
			writer = describe(r.Providers[0], 1)[0]
		}
		if !slices.Contains(writers, writer) {
			writers = append(writers, writer)
		}
		each = append(each, fmt.Sprintf("%s (%s)", writer, strings.Join(r.Resources, ", ")))
	}
	if len(writers) == 1 {
		return writers[0]
	}
	return strings.Join(each, ", ")
}

// Service is the KMS that encrypts what is written, or "".
func (e *Encryption) Service() string {
	if first := e.config.Resources[0].Providers; len(first) > 0 && first[0].KMS != nil {
		return first[0].KMS.Name
	}
	return ""
}

func isPlain(p apiserverv1.ProviderConfiguration) bool { return p.Identity != nil }

// joining tells whether an entry is of resources that AddResources added: they are written with a key, and read as plain text
// when no key fits. Secrets never are.
func joining(r apiserverv1.ResourceConfiguration) bool {
	plain := slices.IndexFunc(r.Providers, isPlain)
	return plain > 0 && plain == len(r.Providers)-1 && !slices.ContainsFunc(r.Resources, func(resource string) bool {
		return resource == "secrets" || !slices.Contains(encrypted, resource)
	})
}

// Joining are the resources that were added, and may stand in the database as plain text.
func (e *Encryption) Joining() []string {
	var all []string
	for _, r := range e.config.Resources {
		if joining(r) {
			all = append(all, r.Resources...)
		}
	}
	return all
}

// AddResources has a plane encrypt, from its next start on, what a new plane encrypts and this one does not yet, and tells what
// that is. It is encrypted with a local key at first, also where a service encrypts the others: an API server takes a service
// in one entry only.
func (e *Encryption) AddResources() ([]string, error) {
	have := e.Resources()
	missing := slices.DeleteFunc(Encrypted(), func(resource string) bool {
		return slices.ContainsFunc(have, func(pattern string) bool { return covers(pattern, resource) })
	})
	if len(missing) == 0 {
		return nil, nil
	}
	if slices.Contains(missing, "secrets") {
		return nil, fmt.Errorf("%s does not encrypt secrets, which every plane does: bring back the file that this plane wrote", e.path)
	}
	var local apiserverv1.ProviderConfiguration
	providers := e.config.Resources[0].Providers
	if i := slices.IndexFunc(providers, func(p apiserverv1.ProviderConfiguration) bool { return p.KMS == nil }); i >= 0 {
		local = *providers[i].DeepCopy()
	} else {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		local = secretbox(key)
	}
	e.config.Resources = append(e.config.Resources, apiserverv1.ResourceConfiguration{
		Resources: missing, Providers: []apiserverv1.ProviderConfiguration{local, {Identity: &apiserverv1.IdentityConfiguration{}}},
	})
	return missing, nil
}

// covers tells whether a resource is meant by what an entry says, which may be all of a group or all there is.
func covers(pattern, resource string) bool {
	p, r := schema.ParseGroupResource(pattern), schema.ParseGroupResource(resource)
	return p == r || p.Resource == "*" && (p.Group == "*" || p.Group == r.Group)
}

// lockPatience is for how long one change waits for another. A change takes milliseconds.
const lockPatience = 5 * time.Second

// whileNobodyChanges runs f while no other process changes the configuration of encryption in a data directory. The lock is
// beside the folder of keys, so that whoever copies or mounts the keys does not take it along; it is not the directory's own,
// which a running plane holds.
func whileNobodyChanges(dataDir string, f func() error) (err error) {
	lock, err := os.OpenFile(filepath.Join(dataDir, "encryption.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("locking encryption configuration: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("locking encryption configuration %s: %w", lock.Name(), err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("the encryption configuration of %s is being changed by another cellfed command: try again when that has ended", dataDir)
		}
	}
}

// ChangeEncryption has change work on the configuration of encryption at rest as it is now, and writes what came of it.
// Another process may hold the data directory; none changes the file meanwhile.
func ChangeEncryption(dataDir string, change func(*Encryption) error) error {
	return whileNobodyChanges(dataDir, func() error {
		e, err := ReadEncryption(dataDir)
		if err != nil {
			return err
		}
		before := e.config.DeepCopy()
		if err := change(e); err != nil {
			return err
		}
		if reflect.DeepEqual(before, &e.config) {
			return nil
		}
		return e.write()
	})
}

// PruneEncryption takes away everything that a plane does not write with, and tells what that was. Whoever calls it knows that
// nothing in the database needs it any more, as long as the plane encrypts as the file said that was verified.
func PruneEncryption(dataDir string, verified *Encryption) (removed []string, err error) {
	err = ChangeEncryption(dataDir, func(e *Encryption) error {
		if e.Hash() != verified.Hash() {
			return fmt.Errorf("%s was changed while everything was encrypted anew, and nothing is taken away from it: restart the plane, and run this again", e.path)
		}
		removed = e.Prune()
		return nil
	})
	return removed, err
}

// AddKey makes a new local key, with which a plane encrypts from its next start on; one that is only prepared is for reading
// until UseKey. The others stay for reading.
func (e *Encryption) AddKey(prepared bool) (string, error) {
	key, err := newKey()
	if err != nil {
		return "", err
	}
	for i := range e.config.Resources {
		box, err := e.box(i)
		if err != nil {
			return "", err
		}
		at := 0
		if prepared {
			at = len(box.Keys)
		}
		box.Keys = slices.Insert(box.Keys, at, key)
	}
	return key.Name, nil
}

// UseKey has a plane encrypt with a key that is there already, from its next start on.
func (e *Encryption) UseKey(name string) error {
	for i := range e.config.Resources {
		box, err := e.box(i)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(box.Keys, func(k apiserverv1.Key) bool { return k.Name == name })
		if at < 0 {
			return fmt.Errorf("there is no local key %s", name)
		}
		key := box.Keys[at]
		box.Keys = slices.Insert(slices.Delete(box.Keys, at, at+1), 0, key)
	}
	return nil
}

// box are the keys that entry i encrypts with.
func (e *Encryption) box(i int) (*apiserverv1.SecretboxConfiguration, error) {
	providers := e.config.Resources[i].Providers
	switch {
	case len(providers) > 0 && providers[0].KMS != nil:
		return nil, fmt.Errorf("the KMS %s encrypts what is written: its keys are changed there", providers[0].KMS.Name)
	case len(providers) > 0 && providers[0].Secretbox != nil:
		return providers[0].Secretbox, nil
	}
	return nil, fmt.Errorf("what is written is not encrypted by secretbox: change %s by hand", e.path)
}

// Prune takes away everything that the plane does not write with, and tells what that was. Resources that were joining have
// joined then, and are encrypted as the others are from the next start on.
func (e *Encryption) Prune() []string {
	before := e.described()
	var stay, joined []apiserverv1.ResourceConfiguration
	for _, r := range e.config.Resources {
		into := &stay
		if joining(r) {
			into = &joined
		}
		r.Providers = r.Providers[:min(1, len(r.Providers))]
		for _, p := range r.Providers {
			if p.Secretbox != nil {
				p.Secretbox.Keys = p.Secretbox.Keys[:1]
			}
			for _, aes := range []*apiserverv1.AESConfiguration{p.AESCBC, p.AESGCM} {
				if aes != nil {
					aes.Keys = aes.Keys[:1]
				}
			}
		}
		*into = append(*into, r)
	}
	for _, r := range joined {
		if len(stay) == 0 {
			stay = append(stay, r)
			continue
		}
		first := &stay[0]
		first.Resources = append(slices.Clone(first.Resources), r.Resources...)
		for _, p := range r.Providers {
			if !slices.ContainsFunc(first.Providers, func(have apiserverv1.ProviderConfiguration) bool { return reflect.DeepEqual(have, p) }) {
				first.Providers = append(first.Providers, p)
			}
		}
	}
	e.config.Resources = stay
	after := e.described()
	return slices.DeleteFunc(before, func(name string) bool { return slices.Contains(after, name) })
}

// described names all that the configuration reads and writes with.
func (e *Encryption) described() []string {
	var names []string
	for _, r := range e.config.Resources {
		for _, p := range r.Providers {
			for _, name := range describe(p, 0) {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// describe names the keys of a provider, the first limit of them; 0 is all.
func describe(p apiserverv1.ProviderConfiguration, limit int) []string {
	var names []string
	if isPlain(p) {
		names = append(names, "plain text")
	}
	if p.KMS != nil {
		names = append(names, "KMS "+p.KMS.Name)
	}
	keys := []apiserverv1.Key{}
	if p.Secretbox != nil {
		keys = append(keys, p.Secretbox.Keys...)
	}
	for _, aes := range []*apiserverv1.AESConfiguration{p.AESCBC, p.AESGCM} {
		if aes != nil {
			keys = append(keys, aes.Keys...)
		}
	}
	for _, k := range keys {
		names = append(names, "local key "+k.Name)
	}
	if limit > 0 {
		names = names[:min(limit, len(names))]
	}
	return names
}

// EncryptWith has a plane that starts now encrypt with the service, or with the local key when there is none. Whatever
// encrypted something before stays for reading, so that nothing becomes unreadable by a change of configuration.
func (d *Dir) EncryptWith(kms *KMS) error {
	e, err := ReadEncryption(d.path)
	if err != nil {
		return err
	}
	// Most starts change nothing, and need neither the lock nor a folder of keys that can be written.
	changed, err := e.encryptWith(kms)
	if err != nil || !changed {
		return err
	}
	return ChangeEncryption(d.path, func(e *Encryption) error {
		_, err := e.encryptWith(kms)
		return err
	})
}

func (e *Encryption) encryptWith(kms *KMS) (changed bool, err error) {
	for i := range e.config.Resources {
		r := &e.config.Resources[i]
		with := kms
		if joining(*r) {
			with = nil
		}
		arranged, err := arrange(r.Providers, with)
		if err != nil {
			return false, err
		}
		changed = changed || !reflect.DeepEqual(arranged, r.Providers)
		r.Providers = arranged
	}
	return changed, nil
}

// arrange puts the provider to write with before the others.
func arrange(providers []apiserverv1.ProviderConfiguration, kms *KMS) ([]apiserverv1.ProviderConfiguration, error) {
	others := slices.Clone(providers)
	if kms != nil {
		others = slices.DeleteFunc(others, func(p apiserverv1.ProviderConfiguration) bool { return p.KMS != nil && p.KMS.Name == kms.Name })
		return slices.Insert(others, 0, apiserverv1.ProviderConfiguration{KMS: &apiserverv1.KMSConfiguration{
			APIVersion: "v2", Name: kms.Name, Endpoint: kms.Endpoint, Timeout: &metav1.Duration{Duration: kms.Timeout},
		}}), nil
	}
	i := slices.IndexFunc(others, func(p apiserverv1.ProviderConfiguration) bool { return p.KMS == nil })
	if i >= 0 {
		local := others[i]
		return slices.Insert(slices.Delete(others, i, i+1), 0, local), nil
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return slices.Insert(others, 0, secretbox(key)), nil
}

func (e *Encryption) write() error {
	data, err := yaml.Marshal(e.config)
	if err == nil {
		err = writeFile(e.path, data)
	}
	if err != nil {
		return fmt.Errorf("writing encryption configuration: %w", err)
	}
	e.data = data
	return nil
}

// secretbox is a provider with one key. It needs no rotation by count of writes, as AES-GCM does.
func secretbox(key apiserverv1.Key) apiserverv1.ProviderConfiguration {
	return apiserverv1.ProviderConfiguration{Secretbox: &apiserverv1.SecretboxConfiguration{Keys: []apiserverv1.Key{key}}}
}

// newKey makes a key with a name that no other has: the name stands before everything that it encrypted, also in backups.
func newKey() (apiserverv1.Key, error) {
	random := make([]byte, 36)
	if _, err := rand.Read(random); err != nil {
		return apiserverv1.Key{}, fmt.Errorf("making encryption key: %w", err)
	}
	return apiserverv1.Key{Name: "local-" + hex.EncodeToString(random[:4]), Secret: base64.StdEncoding.EncodeToString(random[4:])}, nil
}

// encryption makes the configuration of encryption at rest, with a new key, when
// there is none. One that is there is not made anew: without its key all stored
// secrets are lost. For the same reason there is no new key for an old database:
// whoever removed the old one shall know at once, and can still bring it back.
func encryption(path, database string) error {
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading encryption configuration: %w", err)
	}
	if _, err := os.Stat(database); err == nil {
		return fmt.Errorf("the encryption key %s is gone, but %s is there: its secrets cannot be read without that key; bring back the folder %s, or what cellfed keys export wrote, with cellfed keys import", path, database, filepath.Dir(path))
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	e := &Encryption{path: path, config: apiserverv1.EncryptionConfiguration{
		TypeMeta:  metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{Resources: encrypted, Providers: []apiserverv1.ProviderConfiguration{secretbox(key)}}},
	}}
	return e.write()
}
