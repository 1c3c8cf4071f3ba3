package credential

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	requestTimeout = 30 * time.Second
	// most is how large an answer may be.
	most = 4 << 20
)

// ReadCA reads the certificates of whom to trust. It is asked for each connection, so a file that is replaced is heeded.
func ReadCA(file string) func() (*x509.CertPool, error) {
	return func() (*x509.CertPool, error) {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading certificates of whom to trust: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("reading certificates of whom to trust: there is none in %s", file)
		}
		return pool, nil
	}
}

// api is an API server, and who one is there.
type api struct {
	base  string
	roots func() (*x509.CertPool, error)
	// certificate, or else token, says who asks.
	certificate *tls.Certificate
	token       string
	userAgent   string
}

// StatusError is what an API server answered in place of what it was asked for.
type StatusError struct {
	Code    int
	Message string
}

// Error implements error.
func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the API server answered %d", e.Code)
	}
	return fmt.Sprintf("the API server answered %d: %s", e.Code, e.Message)
}

func isStatus(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// do sends one request and reads the answer. Connections are not kept: days lie between two requests.
func (a api) do(ctx context.Context, method, path, contentType string, in, out any) error {
	roots, err := a.roots()
	if err != nil {
		return err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if a.certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	client := &http.Client{
		Transport: transport, Timeout: requestTimeout,
		// Nobody else shall get the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.base, "/")+path, body)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", a.userAgent)
	if in != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if a.certificate == nil && a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(data, &status) // a proxy on the way answers in its own words
		return &StatusError{resp.StatusCode, status.Message}
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

const (
	plainJSON  = "application/json"
	mergePatch = "application/merge-patch+json"
)

// meta is as much of an object's metadata as is used here.
type meta struct {
	Name            string `json:"name,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// signingRequest is as much of a CertificateSigningRequest as is used here.
type signingRequest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		Request           []byte   `json:"request"`
		SignerName        string   `json:"signerName"`
		Usages            []string `json:"usages"`
		ExpirationSeconds *int32   `json:"expirationSeconds,omitempty"`
	} `json:"spec"`
	Status struct {
		Certificate []byte `json:"certificate,omitempty"`
		Conditions  []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Reason  string `json:"reason,omitempty"`
			Message string `json:"message,omitempty"`
		} `json:"conditions,omitempty"`
	} `json:"status,omitzero"`
}

// secret is as much of a Secret as is used here. What else it has is kept by those writes that leave it out.
type secret struct {
	APIVersion string            `json:"apiVersion,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Metadata   meta              `json:"metadata,omitzero"`
	Data       map[string][]byte `json:"data,omitempty"`
}
