package credential

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// Where a Pod finds its service account.
const (
	accountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	accountCA    = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
)

// Secret keeps things in a Secret that is there, of the cluster that this process runs in.
type Secret struct {
	namespace, name string
	base            string
	roots           func() (*x509.CertPool, error)
	tokenFile       string
	userAgent       string
}

// NewSecret is the Secret NAMESPACE/NAME at an API server, for the service account whose token is in a file.
func NewSecret(reference, base string, roots func() (*x509.CertPool, error), tokenFile, userAgent string) (*Secret, error) {
	namespace, name, err := SplitReference(reference)
	if err != nil {
		return nil, err
	}
	return &Secret{namespace: namespace, name: name, base: base, roots: roots, tokenFile: tokenFile, userAgent: userAgent}, nil
}

// InCluster is a Secret as a Pod reaches it.
func InCluster(reference, userAgent string) (*Secret, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("the state cannot be kept in a Secret, because this process runs in no Pod: keep it in a directory with --state-dir")
	}
	return NewSecret(reference, "https://"+net.JoinHostPort(host, port), ReadCA(accountCA), accountToken, userAgent)
}

// SplitReference reads NAMESPACE/NAME.
func SplitReference(reference string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(reference, "/")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(name, "/?#%") || strings.ContainsAny(namespace, "?#%") {
		return "", "", fmt.Errorf("%q is not NAMESPACE/NAME of a Secret", reference)
	}
	return namespace, name, nil
}

// String implements Store.
func (s *Secret) String() string { return "Secret " + s.namespace + "/" + s.name }

func (s *Secret) path() string { return secretPath(s.namespace, s.name) }

func secretPath(namespace, name string) string {
	return "/api/v1/namespaces/" + namespace + "/secrets/" + name
}

func (s *Secret) api() (api, error) {
	token, err := os.ReadFile(s.tokenFile) // a new one every hour
	if err != nil {
		return api{}, fmt.Errorf("reading the service account's token: %w", err)
	}
	return api{base: s.base, roots: s.roots, token: strings.TrimSpace(string(token)), userAgent: s.userAgent}, nil
}

// Load implements Store.
func (s *Secret) Load(ctx context.Context) (Kept, error) {
	a, err := s.api()
	if err != nil {
		return Kept{}, err
	}
	var got secret
	if err := a.do(ctx, http.MethodGet, s.path(), "", nil, &got); err != nil {
		return Kept{}, fmt.Errorf("reading %s: %w", s, err)
	}
	return Kept{Data: got.Data, Version: got.Metadata.ResourceVersion}, nil
}

// Save implements Store. The patch names the version that it is for, and drops what is no longer there by null.
func (s *Secret) Save(ctx context.Context, kept Kept) error {
	a, err := s.api()
	if err != nil {
		return err
	}
	data := map[string]any{pairName: nil, pendingName: nil}
	for name, value := range kept.Data {
		data[name] = value
	}
	patch := map[string]any{"metadata": meta{ResourceVersion: kept.Version}, "data": data}
	var got secret
	err = a.do(ctx, http.MethodPatch, s.path(), mergePatch, patch, &got)
	if isStatus(err, http.StatusConflict) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", s, err)
	}
	return nil
}
