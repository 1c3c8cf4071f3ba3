// Command kmsplugin is a KMS v2 plugin for tests: a process of its own on a unix socket, with AES-GCM keys in a directory.
//
//	kmsplugin -socket /tmp/kms.sock -dir /tmp/keys
//
// In the directory, "current" has the name of the key that encrypts; every other file is a key under its name. Both are read
// for every call, and a current key that is not there is made: to rotate, write another name into "current". "delay" has a
// duration that every answer takes, "fault" what goes wrong: "encrypt" and "decrypt" refuse, "unwell" says so in the status,
// "wrong-key" encrypts with another key than the status says.
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	kmsservice "k8s.io/kms/pkg/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kmsplugin:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	socket := flag.String("socket", "", "where to listen")
	dir := flag.String("dir", "", "the directory of keys and settings")
	flag.Parse()
	// A plugin that was killed leaves its socket, and nobody else has it.
	if err := os.Remove(*socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old socket: %w", err)
	}
	server := kmsservice.NewGRPCService(*socket, time.Minute, &keys{dir: *dir})
	context.AfterFunc(ctx, server.Close)
	return server.ListenAndServe()
}

// keys are the keys of a directory.
type keys struct{ dir string }

var _ kmsservice.Service = (*keys)(nil)

// setting is the content of a file; none is empty.
func (k *keys) setting(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(k.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading setting: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// begin waits as long as an answer shall take, and tells which fault there is.
func (k *keys) begin(ctx context.Context) (fault string, err error) {
	text, err := k.setting("delay")
	if err != nil {
		return "", err
	}
	if text != "" {
		delay, err := time.ParseDuration(text)
		if err != nil {
			return "", fmt.Errorf("reading setting: %w", err)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(delay):
		}
	}
	return k.setting("fault")
}

func (k *keys) current() (string, error) {
	name, err := k.setting("current")
	if err == nil && name == "" {
		name = "first"
	}
	return name, err
}

// cipher is the key of a name. make says to make it when it is not there.
func (k *keys) cipher(name string, make bool) (cipher.AEAD, error) {
	path := filepath.Join(k.dir, "key-"+filepath.Base(name))
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && make {
		key = newKey()
		err = os.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("no key %q: %w", name, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", name, err)
	}
	return cipher.NewGCM(block)
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: it ends the process instead
	return key
}

// Status implements kmsservice.Service.
func (k *keys) Status(ctx context.Context) (*kmsservice.StatusResponse, error) {
	fault, err := k.begin(ctx)
	if err != nil {
		return nil, err
	}
	name, err := k.current()
	if err != nil {
		return nil, err
	}
	health := "ok"
	if fault == "unwell" {
		health = "the safe is locked"
	}
	return &kmsservice.StatusResponse{Version: "v2", Healthz: health, KeyID: name}, nil
}

// Encrypt implements kmsservice.Service.
func (k *keys) Encrypt(ctx context.Context, _ string, plain []byte) (*kmsservice.EncryptResponse, error) {
	fault, err := k.begin(ctx)
	if err != nil {
		return nil, err
	}
	if fault == "encrypt" {
		return nil, errors.New("told to refuse to encrypt")
	}
	name, err := k.current()
	if err != nil {
		return nil, err
	}
	if fault == "wrong-key" {
		name += "-wrong"
	}
	gcm, err := k.cipher(name, true)
	if err != nil {
		return nil, err
	}
	nonce := newKey()[:gcm.NonceSize()]
	return &kmsservice.EncryptResponse{KeyID: name, Ciphertext: gcm.Seal(nonce, nonce, plain, nil)}, nil
}

// Decrypt implements kmsservice.Service.
func (k *keys) Decrypt(ctx context.Context, _ string, r *kmsservice.DecryptRequest) ([]byte, error) {
	fault, err := k.begin(ctx)
	if err != nil {
		return nil, err
	}
	if fault == "decrypt" {
		return nil, errors.New("told to refuse to decrypt")
	}
	gcm, err := k.cipher(r.KeyID, false)
	if err != nil {
		return nil, err
	}
	if len(r.Ciphertext) < gcm.NonceSize() {
		return nil, errors.New("too short to have been encrypted here")
	}
	return gcm.Open(nil, r.Ciphertext[:gcm.NonceSize()], r.Ciphertext[gcm.NonceSize():], nil)
}
