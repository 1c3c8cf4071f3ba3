package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePort finds a port that nobody listens on. It is below those that the kernel gives to outgoing connections, which
// could take it while its server is down.
func FreePort(host string) (int, error) {
	const lowest, count, tries = 20000, 12000, 100
	var last error
	for range tries {
		port := lowest + rand.IntN(count)
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("finding a free port: %w", last)
}
