package apiserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// inProcess answers the conversion webhook of CellFed's own CRDs in this process
// and leaves every other webhook to next.
func inProcess(handle ConversionHandler, next webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	if handle == nil {
		return next
	}
	return func(delegate webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		others := next(delegate)
		return &webhook.AuthenticationInfoResolverDelegator{
			ClientConfigForFunc: others.ClientConfigFor,
			ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
				if !isConversionService(namespace, name) {
					return others.ClientConfigForService(name, namespace, port)
				}
				cfg := &rest.Config{}
				// The wrapper drops the transport that it is given: nothing is dialled.
				cfg.Wrap(func(http.RoundTripper) http.RoundTripper { return conversionTransport{handle} })
				return cfg, nil
			},
		}
	}
}

func isConversionService(namespace, name string) bool {
	return namespace == ConversionServiceNamespace && name == ConversionServiceName
}

// serviceResolver knows the one service a plane has. Services as such do not
// exist here, so webhooks of others need a URL.
type serviceResolver struct{}

// ResolveEndpoint implements webhook.ServiceResolver.
func (serviceResolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if isConversionService(namespace, name) {
		return &url.URL{Scheme: "https", Host: fmt.Sprintf("%s.%s.svc:%d", name, namespace, port)}, nil
	}
	return nil, fmt.Errorf("service %s/%s: a plane has no services; give the URL of the webhook", namespace, name)
}

// conversionTransport is the whole way from the API server to the conversion
// functions and back.
type conversionTransport struct{ handle ConversionHandler }

// RoundTrip implements http.RoundTripper.
func (t conversionTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	defer func() { _ = req.Body.Close() }()
	review, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("reading conversion review: %w", err)
	}
	body, err := t.handle(req.Context(), review)
	if err != nil {
		return nil, fmt.Errorf("converting: %w", err)
	}
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}, nil
}
