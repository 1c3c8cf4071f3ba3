package host

import (
	"bytes"
	"testing"

	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
)

func TestABodyIsLoggedAtNoVerbosity(t *testing.T) {
	var out bytes.Buffer
	c := logsapi.NewLoggingConfiguration()
	c.Verbosity = 10
	if err := logsapi.ResetForTest(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Log(c, nil, &out); err != nil {
		t.Fatal(err)
	}
	logger := klog.Background()
	logger.V(8).Info("Request Body", "body", "{\n  \"token\": \"hidden\"\n}\n")
	logger.WithName(LoggerName).V(8).Info("Response Body", "body", "hidden")
	logger.V(8).Info("Response", "status", "200 OK")
	klog.Flush()
	if bytes.Contains(out.Bytes(), []byte("hidden")) {
		t.Errorf("a body was logged:\n%s", &out)
	}
	if !bytes.Contains(out.Bytes(), []byte("200 OK")) {
		t.Errorf("what is no body was not logged:\n%s", &out)
	}
}

func TestOfSeveralEntriesWrittenAtOnceOnlyBodiesAreDropped(t *testing.T) {
	var out bytes.Buffer
	if _, err := (confidential{&out}).Write([]byte("{\"msg\":\"a\"}\n{\"msg\":\"Response Body\",\"body\":\"hidden\"}\n{\"msg\":\"b\"}\n")); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "{\"msg\":\"a\"}\n{\"msg\":\"b\"}\n" {
		t.Errorf("what is left is %q", got)
	}
}
