//go:build unix && !linux

package playground

import (
	"errors"
	"net"
)

// errNoNamespace is what becomes of a firewall where the system knows no network namespaces.
var errNoNamespace = errors.New("no network namespace can be made here")

var errNotLinux = errors.New("members behind firewalls need Linux")

func newNetwork() (*spawner, string, error) { return nil, "", errNoNamespace }

func enterNetwork(string) error { return errNotLinux }

type doorkeeper struct{}

func newDoorkeeper() (*doorkeeper, error) { return nil, errNotLinux }

func (*doorkeeper) admit(int) {}

func (*doorkeeper) knows(net.Conn) bool { return false }
