package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// shared are the files below pki that all servers of one plane have in common. Each server's own certificates are not
// among them: they are made where they are used, and for the addresses there.
var shared = []string{
	"serving-ca.crt", "serving-ca.key",
	"client-ca.crt", "client-ca.key",
	"service-account.key",
	encryptionFile,
}

// later are shared files that planes of former versions have not. The first start makes them, by each server on its own:
// so the server of a plane with several that comes second has another one than the plane, is refused, and is brought the
// plane's by an import.
var later = []string{tunnelCACert, tunnelCAKey}

const (
	tunnelCACert = "tunnel-ca.crt"
	tunnelCAKey  = "tunnel-ca.key"

	// replaced is what the name of a file of later ends in whose place an imported one took.
	replaced = ".replaced"

	sharedKind    = "PlaneKeys"
	sharedVersion = "config.cellfed.io/v1alpha1"
	sharedHeader  = "# The keys that all servers of one plane share. Whoever has them is the plane, and reads all its secrets.\n"
)

// SharedKeys is what a file of exported keys holds.
type SharedKeys struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Files      map[string]string `json:"files"`

	from string // the file
}

// ExportKeys writes the keys that other servers of the plane need into one file, which only its owner may read. The
// server of the data directory may be running: every file is whole at any moment, as is the one that is written.
func ExportKeys(dataDir, out string) error {
	keys := SharedKeys{APIVersion: sharedVersion, Kind: sharedKind, Files: map[string]string{}}
	for _, name := range shared {
		data, err := os.ReadFile(filepath.Join(dataDir, "pki", name))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s has no %s: start a server there once, which makes the keys, or import them", dataDir, name)
		}
		if err != nil {
			return fmt.Errorf("reading keys: %w", err)
		}
		keys.Files[name] = string(data)
	}
	for _, name := range later {
		data, err := os.ReadFile(filepath.Join(dataDir, "pki", name))
		switch {
		case err == nil:
			keys.Files[name] = string(data)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("reading keys: %w", err)
		}
	}
	data, err := yaml.Marshal(keys)
	if err != nil {
		return fmt.Errorf("writing keys: %w", err)
	}
	err = writeNewFile(out, append([]byte(sharedHeader), data...))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: it is not overwritten, in case it holds another plane's keys", out)
	}
	if err != nil {
		return fmt.Errorf("writing keys: %w", err)
	}
	return nil
}

// Import brings the keys of another server's data directory into this one. Keys of another plane that are here already
// are never overwritten. A database that is here without keys was restored, and whether the keys are its own is judged by the
// server, which does not start with others. An encryption configuration that still has every key of the one that is here takes its place:
// so a new key comes to all servers before one of them uses it.
func (d *Dir) Import(keys SharedKeys) error {
	return whileNobodyChanges(d.path, func() error { return d.adopt(keys) })
}

// adopt writes those of the keys that are not here, unless some that are here speak against it.
func (d *Dir) adopt(keys SharedKeys) error {
	var missing []string
	for _, name := range shared {
		have, err := os.ReadFile(d.file(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return fmt.Errorf("reading keys: %w", err)
		case string(have) == keys.Files[name] || strings.HasSuffix(name, ".crt"): // a renewed certificate is as good
		case name == encryptionFile && keepsSecrets(have, []byte(keys.Files[name])):
			missing = append(missing, name)
		case name == encryptionFile: // all other keys are the same
			return fmt.Errorf("%s has keys of encryption, or encrypts resources, that %s lacks: bring them to the server that exported it first, or delete %s when nothing is encrypted with them any more",
				d.path, keys.from, d.file(name))
		default:
			return fmt.Errorf("%s has another %s than %s: it belongs to another plane; import into a data directory without keys, or, if the database was written with those in %s, move %s away and import again",
				d.path, name, keys.from, keys.from, filepath.Join(d.path, "pki"))
		}
	}
	for _, name := range missing {
		if err := writeFile(d.file(name), []byte(keys.Files[name])); err != nil {
			return fmt.Errorf("writing keys: %w", err)
		}
	}
	return d.importLater(keys)
}

// importLater brings what former versions have not. All other keys are the plane's by now, so what differs was made by
// this server for itself: it makes room, and is kept beside in case the wrong one was brought.
func (d *Dir) importLater(keys SharedKeys) error {
	have, err := os.ReadFile(d.file(tunnelCAKey))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading keys: %w", err)
	}
	if keys.Files[tunnelCAKey] == "" || string(have) == keys.Files[tunnelCAKey] {
		return nil
	}
	for _, name := range later {
		to, err := unused(d.file(name) + replaced)
		if err != nil {
			return fmt.Errorf("moving keys out of the way: %w", err)
		}
		if err := os.Rename(d.file(name), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("moving keys out of the way: %w", err)
		}
	}
	for _, name := range later { // the key last: what a crash leaves behind is imported again
		if err := writeFile(d.file(name), []byte(keys.Files[name])); err != nil {
			return fmt.Errorf("writing keys: %w", err)
		}
	}
	return nil
}

// unused is a path, or the path with a number, that nothing has: what an earlier import moved there may be the plane's.
func unused(path string) (string, error) {
	for n, to := 1, path; ; n++ {
		_, err := os.Lstat(to)
		if errors.Is(err, fs.ErrNotExist) {
			return to, nil
		}
		if err != nil {
			return "", err
		}
		to = fmt.Sprintf("%s.%d", path, n)
	}
}

// ReadSharedKeys reads what ExportKeys wrote.
func ReadSharedKeys(in string) (SharedKeys, error) {
	data, err := os.ReadFile(in)
	if err != nil {
		return SharedKeys{}, fmt.Errorf("reading keys: %w", err)
	}
	keys := SharedKeys{from: in}
	// What the decoder says may quote what it read, and is not told.
	if yaml.UnmarshalStrict(data, &keys) != nil || keys.Kind != sharedKind || keys.APIVersion != sharedVersion {
		return SharedKeys{}, fmt.Errorf("reading keys: %s was not written by cellfed keys export", in)
	}
	for _, name := range shared {
		if keys.Files[name] == "" {
			return SharedKeys{}, fmt.Errorf("reading keys: %s lacks %s: export them again", in, name)
		}
	}
	if (keys.Files[tunnelCACert] == "") != (keys.Files[tunnelCAKey] == "") {
		return SharedKeys{}, fmt.Errorf("reading keys: %s has one of %s and lacks the other: export them again", in, strings.Join(later, " and "))
	}
	for name := range keys.Files {
		if !slices.Contains(shared, name) && !slices.Contains(later, name) {
			return SharedKeys{}, fmt.Errorf("reading keys: %s has %q, which this version does not know", in, name)
		}
	}
	return keys, nil
}

// keepsSecrets tells whether every local key, service and resource of one encryption configuration is in another.
func keepsSecrets(before, after []byte) bool {
	old, ok := localKeys(before)
	now, also := localKeys(after)
	return ok && also && !slices.ContainsFunc(old, func(key string) bool { return !slices.Contains(now, key) })
}

// localKeys are the keys that an encryption configuration holds, wherever in it, and the services and resources that
// it names; false if it cannot be read.
func localKeys(config []byte) ([]string, bool) {
	var document any
	if err := yaml.Unmarshal(bytes.TrimSpace(config), &document); err != nil {
		return nil, false
	}
	var found []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if secret, is := v["secret"].(string); is {
				found = append(found, secret)
			}
			if service, is := v["kms"].(map[string]any); is {
				found = append(found, fmt.Sprint("kms ", service["name"]))
			}
			if resources, is := v["resources"].([]any); is {
				for _, r := range resources {
					if name, is := r.(string); is {
						found = append(found, "resource "+name)
					}
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(document)
	return found, len(found) > 0
}
