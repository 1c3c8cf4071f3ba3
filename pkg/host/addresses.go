package host

import (
	"net"
	"os"
)

// Addresses are the IP addresses and names that clients may call a server by
// that listens on bind. A server on all addresses is called by each of them.
func Addresses(bind net.IP) ([]net.IP, []string) {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	names := []string{"localhost"}
	if bind.IsLoopback() {
		return ips, names
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		names = append(names, name)
	}
	if !bind.IsUnspecified() {
		return append(ips, bind), names
	}
	// Without the list of addresses the server is still good on loopback.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ips, names
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			ips = append(ips, n.IP)
		}
	}
	return ips, names
}

// DialHost is the host by which this machine reaches a server that listens on
// bind.
func DialHost(bind net.IP) string {
	if !bind.IsUnspecified() {
		return bind.String()
	}
	if bind.To4() == nil {
		return net.IPv6loopback.String()
	}
	return "127.0.0.1"
}
