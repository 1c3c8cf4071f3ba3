package enrolment

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/test/harness"
)

func TestTheAgentSaysWhatItNeeds(t *testing.T) {
	path, err := harness.Binary("cellfed-agent")
	noError(t, err)
	for _, tt := range []struct {
		args []string
		code bool
		want string
	}{
		{[]string{"--help"}, true, "Examples:"},
		{[]string{"--version"}, true, "cellfed-agent "},
		{nil, false, "say --server host:port"},
		{[]string{"--server=a:1"}, false, "say --ca-file"},
		{[]string{"--server=a:1", "--ca-file=x", "--client-key=x"}, false, "go together"},
		{[]string{"--server=a:1", "--ca-file=x", "--plane=https://x", "--cluster=a", "--enrolment=abcd1234"}, false, "--state-dir"},
		{[]string{"--server=a", "--ca-file=x", "--plane=https://x", "--cluster=a", "--enrolment=abcd1234", "--state-dir=/x"}, false, "is not host:port"},
		{[]string{"--nonsense"}, false, "unknown flag"},
		{[]string{"word"}, false, "is not understood"},
	} {
		out, err := exec.Command(path, tt.args...).CombinedOutput()
		if (err == nil) != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("%v: %v\n%s", tt.args, err, out)
		}
		if !tt.code && strings.Count(strings.TrimSpace(string(out)), "\n") > 0 {
			t.Errorf("%v: more than a line:\n%s", tt.args, out)
		}
	}
}
