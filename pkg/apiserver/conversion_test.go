package apiserver

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestAWebhookThatIsNotOursIsNotAnsweredInProcess(t *testing.T) {
	if _, err := (serviceResolver{}).ResolveEndpoint("default", "other", 443); err == nil {
		t.Error("a service that no plane has was found")
	}
	if _, err := (serviceResolver{}).ResolveEndpoint(ConversionServiceNamespace, ConversionServiceName, 443); err != nil {
		t.Errorf("the plane's own service was not found: %v", err)
	}
}

func TestAConversionReviewIsAnErrorWhen(t *testing.T) {
	for name, body := range map[string]string{
		"it is no JSON":        "{",
		"it holds no request":  `{"kind":"ConversionReview"}`,
		"it gets no answer":    `{"request":{"uid":"u"}}`,
		"it is not an object":  `[]`,
		"it is cut in the end": `{"request":{"uid":"u"`,
	} {
		t.Run(name, func(t *testing.T) {
			nothing := func(context.Context, *apiextensionsv1.ConversionReview) *apiextensionsv1.ConversionResponse {
				return nil
			}
			response, err := conversionTransport{nothing}.RoundTrip(request(t, body))
			if err == nil {
				_ = response.Body.Close()
				t.Error("no error")
			}
		})
	}
}

func TestAConversionAnswerCarriesTheQuestionsUID(t *testing.T) {
	// A handler that mixes up reviews must not be able to answer the wrong one.
	handle := func(_ context.Context, review *apiextensionsv1.ConversionReview) *apiextensionsv1.ConversionResponse {
		review.Request.UID = "changed"
		return &apiextensionsv1.ConversionResponse{UID: "another"}
	}
	response, err := conversionTransport{handle}.RoundTrip(request(t, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{"uid":"u"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), `"uid":"u"`) || !strings.Contains(string(body), `"apiVersion":"apiextensions.k8s.io/v1"`) {
		t.Errorf("the answer is %s", body)
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
