package tunnels

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/cellfed/cellfed/proxy/remote"
)

func TestAServerThatIsNamedNoMoreIsUsedForAWhile(t *testing.T) {
	servers := remote.NewServers(remote.Options{Log: logr.Discard(), TLS: func() (*tls.Config, error) { return &tls.Config{MinVersion: tls.VersionTLS12}, nil }})
	t.Cleanup(servers.Close)
	p := &peers{ownName: "own", servers: servers, last: map[string]time.Time{}}
	now := time.Now()
	for _, c := range []struct {
		data  map[string]string
		after time.Duration
		used  int
	}{
		{map[string]string{"own": "127.0.0.1:1", "one": "127.0.0.1:2", "two": "127.0.0.1:3", "nowhere": ""}, 0, 2},
		{map[string]string{"one": "127.0.0.1:2"}, time.Second, 2}, // it may have been a mistake
		{map[string]string{"one": "127.0.0.1:2", "two": "127.0.0.1:3"}, gonePatience, 2},
		{map[string]string{"two": "127.0.0.1:3", "also two": "127.0.0.1:3"}, gonePatience + time.Second, 1},
	} {
		now = now.Add(c.after)
		p.name(c.data)
		if err := p.use(now); err != nil {
			t.Fatal(err)
		}
		if servers.Len() != c.used {
			t.Errorf("after %v: %d servers are used", c.data, servers.Len())
		}
	}
}
