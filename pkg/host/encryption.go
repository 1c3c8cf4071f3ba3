package host

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// encryptionTemplate has no identity provider: a secret that stands in the
// database as plain text is not read, because this plane never wrote it.
// secretbox needs no rotation by count of writes, as AES-GCM does.
const encryptionTemplate = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - {name: local, secret: %s}
`

// encryption makes the configuration of encryption at rest, with a new key, when
// there is none. One that is there is never touched: without its key all stored
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
		return fmt.Errorf("the encryption key %s is gone, but %s is there: its secrets cannot be read without that key", path, database)
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("making encryption key: %w", err)
	}
	if err := writeFile(path, fmt.Appendf(nil, encryptionTemplate, base64.StdEncoding.EncodeToString(key))); err != nil {
		return fmt.Errorf("writing encryption configuration: %w", err)
	}
	return nil
}
