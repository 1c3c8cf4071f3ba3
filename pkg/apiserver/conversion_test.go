package apiserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestAWebhookThatIsNotOursIsNotAnsweredInProcess(t *testing.T) {
	if _, err := (serviceResolver{}).ResolveEndpoint("default", "other", 443); err == nil {
		t.Error("a service that no plane has was found")
	}
	if _, err := (serviceResolver{}).ResolveEndpoint(ConversionServiceNamespace, ConversionServiceName, 443); err != nil {
		t.Errorf("the plane's own service was not found: %v", err)
	}
}

func TestTheHandlersAnswerIsTheAnswer(t *testing.T) {
	echo := func(_ context.Context, review []byte) ([]byte, error) {
		return append([]byte("answer to "), review...), nil
	}
	response, err := conversionTransport{echo}.RoundTrip(request(t, "question"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != "answer to question" || response.StatusCode != http.StatusOK {
		t.Errorf("%d: %s", response.StatusCode, body)
	}
}

func TestAHandlersErrorFailsTheConversion(t *testing.T) {
	refuse := func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no review at all") }
	response, err := conversionTransport{refuse}.RoundTrip(request(t, "{"))
	if err == nil || !strings.Contains(err.Error(), "no review at all") {
		t.Errorf("got %v, want the handler's error", err)
	}
	if err == nil {
		_ = response.Body.Close()
	}
}

func request(t *testing.T, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://x/convert", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
