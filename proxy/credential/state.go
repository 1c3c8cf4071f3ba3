package credential

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What is kept, by name: files in a directory, or keys of a Secret.
const (
	// pairName is the certificate with its key, in one piece: there is no moment in which they do not fit each other.
	pairName = "agent.pem"
	// pendingName is what is being asked for.
	pendingName = "pending.json"
)

// Kept is what a Store holds, with the version that it has there.
type Kept struct {
	Data    map[string][]byte
	Version string
}

// ErrConflict says that what is kept was changed by another since it was read.
var ErrConflict = errors.New("it was changed in between")

// Store keeps an agent's key and certificate.
type Store interface {
	// Load reads what is kept; nothing kept is no error.
	Load(ctx context.Context) (Kept, error)
	// Save replaces all of it, or fails with ErrConflict.
	Save(ctx context.Context, kept Kept) error
	// String says where that is.
	String() string
}

// Dir keeps files in a directory, for their owner only.
type Dir string

// String implements Store.
func (d Dir) String() string { return string(d) }

// Load implements Store.
func (d Dir) Load(context.Context) (Kept, error) {
	kept := Kept{Data: map[string][]byte{}}
	for _, name := range []string{pairName, pendingName} {
		data, err := os.ReadFile(filepath.Join(string(d), name))
		switch {
		case err == nil:
			kept.Data[name] = data
		case !errors.Is(err, fs.ErrNotExist):
			return Kept{}, fmt.Errorf("reading state: %w", err)
		}
	}
	return kept, nil
}

// Save implements Store. The certificate is written first: what a crash leaves of an old request does no harm.
func (d Dir) Save(_ context.Context, kept Kept) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("making directory of state: %w", err)
	}
	for _, name := range []string{pairName, pendingName} {
		path := filepath.Join(string(d), name)
		if data := kept.Data[name]; len(data) > 0 {
			if err := replace(path, data); err != nil {
				return fmt.Errorf("writing state: %w", err)
			}
		} else if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("writing state: %w", err)
		}
	}
	return nil
}

// replace puts a file in place at once, readable for its owner alone, and lasting.
func replace(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// pending is a request under way.
type pending struct {
	// Request is the name of the CertificateSigningRequest.
	Request string `json:"request"`
	// Key is the private key that it is for, in PEM.
	Key string `json:"key"`
}

func newPending(key []byte) (*pending, error) {
	name := make([]byte, 12)
	if _, err := rand.Read(name); err != nil {
		return nil, fmt.Errorf("making a name for the request: %w", err)
	}
	if key == nil {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		der, err := x509.MarshalECPrivateKey(private)
		if err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		key = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	}
	return &pending{Request: "cellfed-tunnel-" + hex.EncodeToString(name), Key: string(key)}, nil
}

func (p *pending) signer() (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(p.Key))
	if block == nil {
		return nil, errors.New("there is no key in it")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

// state is what is kept, understood.
type state struct {
	pair    *tls.Certificate
	pairPEM []byte
	keyPEM  []byte
	pending *pending
	version string
}

// understand reads what is kept. What cannot be read is as good as not there, and told: nobody can mend it.
func understand(kept Kept) (state, error) {
	s := state{version: kept.Version}
	var wrong error
	if data := kept.Data[pairName]; len(data) > 0 {
		if pair, err := tls.X509KeyPair(data, data); err != nil {
			wrong = fmt.Errorf("reading %s: %w", pairName, err)
		} else {
			s.pair, s.pairPEM, s.keyPEM = &pair, data, keyIn(data)
		}
	}
	if data := kept.Data[pendingName]; len(data) > 0 {
		p := &pending{}
		err := json.Unmarshal(data, p)
		if err == nil {
			_, err = p.signer()
		}
		if err == nil && p.Request == "" {
			err = errors.New("it names no request")
		}
		if err != nil {
			// The decoder may quote what it read, which is a key.
			wrong = errors.Join(wrong, fmt.Errorf("reading %s: it is damaged", pendingName))
		} else {
			s.pending = p
		}
	}
	return s, wrong
}

func keyIn(data []byte) []byte {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "EC PRIVATE KEY" {
			return pem.EncodeToMemory(block)
		}
	}
	return nil
}

func (s state) kept() (Kept, error) {
	k := Kept{Version: s.version, Data: map[string][]byte{}}
	if s.pairPEM != nil {
		k.Data[pairName] = s.pairPEM
	}
	if s.pending != nil {
		data, err := json.Marshal(s.pending)
		if err != nil {
			return Kept{}, fmt.Errorf("writing state: %w", err)
		}
		k.Data[pendingName] = data
	}
	return k, nil
}
