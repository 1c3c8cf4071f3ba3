package membership

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/version"
)

// Reasons of conditions. The first five are KubeFed's.
const (
	ReasonReady           = "ClusterReady"
	ReasonNotReady        = "ClusterNotReady"
	ReasonNotReachable    = "ClusterNotReachable"
	ReasonReachable       = "ClusterReachable"
	ReasonConfigMalformed = "ClusterConfigMalformed"
	// ReasonUnauthorized and ReasonForbidden: the member does not accept, or does not suffice with, the credentials.
	ReasonUnauthorized = "Unauthorized"
	ReasonForbidden    = "Forbidden"
	// ReasonUntrusted: the member's certificate is not what spec.caBundle and the endpoint's name say it is.
	ReasonUntrusted = "CertificateNotTrusted"
)

const (
	messageReady        = "/healthz responded with ok"
	messageNotReady     = "/healthz responded without ok"
	messageReachable    = "cluster is reachable"
	messageNotReachable = "cluster is not reachable"

	maxBody = 64 << 10
)

// probe asks a member for its health, and a healthy one for its version. It takes no longer than timeout for each.
func probe(ctx context.Context, client *http.Client, base string, timeout time.Duration) result {
	code, body, err := get(ctx, client, base+"/healthz", timeout)
	switch {
	case err != nil:
		return unreachable(err, timeout)
	case code == http.StatusUnauthorized:
		return result{reason: ReasonUnauthorized, message: "the member does not accept the plane's credentials (401): they are wrong or have expired"}
	case code == http.StatusForbidden:
		return result{reason: ReasonForbidden, message: "the plane's credentials do not let it read /healthz (403)"}
	case code != http.StatusOK || !strings.EqualFold(strings.TrimSpace(body), "ok"):
		return result{reachable: true, reason: ReasonNotReady, message: messageNotReady}
	}
	r := result{ok: true, reachable: true, reason: ReasonReady, message: messageReady}
	code, body, err = get(ctx, client, base+"/version", timeout)
	var v version.Info
	if err == nil && code == http.StatusOK && json.Unmarshal([]byte(body), &v) == nil {
		r.version = v.GitVersion
	}
	return r
}

func get(ctx context.Context, client *http.Client, url string, timeout time.Duration) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return resp.StatusCode, string(body), err
}

// unreachable says why no answer came, in words that stay the same while the reason does: a message that held the
// port of this attempt's connection would be a new one with each attempt.
func unreachable(err error, timeout time.Duration) result {
	var (
		untrusted *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	if errors.As(err, &untrusted) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) {
		reason := errors.Unwrap(err)
		if untrusted != nil {
			reason = untrusted.Err
		}
		return result{reason: ReasonUntrusted, message: fmt.Sprintf("the member's certificate is not trusted: %s", steady(reason))}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return result{reason: ReasonNotReachable, message: fmt.Sprintf("%s: no answer within %s", messageNotReachable, timeout)}
	}
	return result{reason: ReasonNotReachable, message: fmt.Sprintf("%s: %s", messageNotReachable, steady(err))}
}

func steady(err error) string {
	var (
		viaURL  *url.Error
		op      *net.OpError
		dns     *net.DNSError
		expired x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return fmt.Sprintf("it is valid from %s to %s", expired.Cert.NotBefore.UTC().Format(time.RFC3339), expired.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &dns):
		return fmt.Sprintf("looking up %s: %s", dns.Name, dns.Err)
	case errors.As(err, &op) && op.Addr != nil:
		return fmt.Sprintf("%s %s: %s", op.Op, op.Addr, op.Err)
	case errors.As(err, &viaURL):
		return viaURL.Err.Error()
	}
	return err.Error()
}
