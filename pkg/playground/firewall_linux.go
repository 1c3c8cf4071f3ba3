package playground

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// errNoNamespace is returned where the system lets nobody, or not this user, make network namespaces.
var errNoNamespace = errors.New("no network namespace can be made here")

// newNetwork makes a network namespace with nothing but loopback, and what starts processes in it. It has no name, so
// the kernel removes it when the last thread, process and socket in it is gone, however that came about.
func newNetwork() (_ *spawner, network string, err error) {
	s, err := newSpawner(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("%w: %w", errNoNamespace, err)
		}
		network = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		if err := raiseLoopback(); err != nil {
			return fmt.Errorf("%w: %w", errNoNamespace, err)
		}
		return nil
	})
	return s, network, err
}

// raiseLoopback brings up the loopback interface of this thread's network, which is born down.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bringing up loopback: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bringing up loopback: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing up loopback: %w", err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing up loopback: %w", err)
	}
	return nil
}

// enterNetwork moves the calling thread, which has to be locked, into a network.
func enterNetwork(network string) error {
	file, err := os.Open(network)
	if err != nil {
		return fmt.Errorf("entering the member's network: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the member's network: %w", err)
	}
	return nil
}

// doorkeeper knows connections by the process at their other end.
type doorkeeper struct {
	mu       sync.Mutex
	admitted map[int]bool
}

func newDoorkeeper() (*doorkeeper, error) { return &doorkeeper{admitted: map[int]bool{}}, nil }

func (d *doorkeeper) admit(pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.admitted[pid] = true
}

// knows tells whether an admitted process holds the other end.
func (d *doorkeeper) knows(conn net.Conn) bool {
	socket, err := socketOf(conn.RemoteAddr(), conn.LocalAddr())
	if err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for pid := range d.admitted {
		held, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil || len(held) == 0 {
			delete(d.admitted, pid) // It has ended; its number may be another's next.
			continue
		}
		for _, fd := range held {
			if target, err := os.Readlink(fd); err == nil && target == socket {
				return true
			}
		}
	}
	return false
}

// socketOf is the name under which processes hold the socket of a TCP connection.
func socketOf(local, remote net.Addr) (string, error) {
	from, to := kernelAddress(local), kernelAddress(remote)
	table, err := os.Open("/proc/self/net/tcp")
	if err != nil {
		return "", err
	}
	defer func() { _ = table.Close() }()
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && fields[1] == from && fields[2] == to {
			return "socket:[" + fields[9] + "]", nil
		}
	}
	return "", errors.New("no process holds it")
}

// kernelAddress writes an IPv4 address as the kernel's tables do.
func kernelAddress(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || tcp.IP.To4() == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(tcp.IP.To4()), tcp.Port)
}
