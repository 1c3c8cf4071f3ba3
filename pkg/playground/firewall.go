package playground

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Firewall is what keeps connections away from a member.
type Firewall string

// The firewalls, and the wish for the best that the machine has.
const (
	// BestFirewall is a network namespace where one can be made, else a doorkeeper.
	BestFirewall Firewall = "auto"
	// NetworkNamespace: the member's processes have a network of their own, which no route leads into. Out of it lead
	// the addresses that were named, and nothing else.
	NetworkNamespace Firewall = "namespace"
	// Doorkeeper: the member shares the machine's network. At its port stands a doorkeeper, who looks which process a
	// connection comes from and sends away all but the member's own and those that entered it.
	Doorkeeper Firewall = "doorkeeper"
)

// checkFirewall says what is wrong with the wish for members behind firewalls, if anything.
func checkFirewall(cfg Config) error {
	for _, name := range cfg.Firewalled {
		if !slices.Contains(cfg.Names, name) {
			return fmt.Errorf("member %q cannot be put behind a firewall: no member is named so", name)
		}
	}
	if !slices.Contains([]Firewall{"", BestFirewall, NetworkNamespace, Doorkeeper}, cfg.Firewall) {
		return fmt.Errorf("firewall %q: %s, %s or %s", cfg.Firewall, BestFirewall, NetworkNamespace, Doorkeeper)
	}
	for _, address := range cfg.WaysOut {
		if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().IsLoopback() || at.Port() == 0 {
			return fmt.Errorf("way out %q: it has to be an address on loopback with a port, such as 127.0.0.1:6443", address)
		}
	}
	return nil
}

// firewall stands before one member, from the playground's start to its end, however often the member starts.
type firewall struct {
	kind Firewall
	// spawner starts the member's processes inside a namespace; nil = where everything is started.
	spawner *spawner
	// network is the namespace as a file; empty without one.
	network string
	// private is where the member listens behind a doorkeeper; 0 without one.
	private int
	keeper  *doorkeeper
	relays  []*relay
}

// newFirewall makes the firewall of a member with this port. why says what there was against a namespace.
func newFirewall(cfg Config, port int) (f *firewall, why error, err error) {
	if cfg.Firewall != Doorkeeper {
		f, err := openNamespace(cfg.WaysOut)
		if err == nil || cfg.Firewall == NetworkNamespace || !errors.Is(err, errNoNamespace) {
			return f, nil, err
		}
		why = err
	}
	f, err = postDoorkeeper(port)
	return f, why, err
}

func openNamespace(waysOut []string) (*firewall, error) {
	spawner, network, err := newNetwork()
	if err != nil {
		return nil, err
	}
	f := &firewall{kind: NetworkNamespace, spawner: spawner, network: network}
	for _, address := range waysOut {
		// A socket belongs to the network of the thread that made it, for good: listened to in there, and served from here.
		var listener net.Listener
		spawner.do(func() { listener, err = net.Listen("tcp", address) })
		if err != nil {
			f.close()
			return nil, fmt.Errorf("opening the way out to %s: %w", address, err)
		}
		f.relays = append(f.relays, startRelay(listener, address, nil))
	}
	return f, nil
}

func postDoorkeeper(port int) (*firewall, error) {
	keeper, err := newDoorkeeper()
	if err != nil {
		return nil, err
	}
	private, err := freePort()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return nil, fmt.Errorf("posting the doorkeeper: %w", err)
	}
	return &firewall{kind: Doorkeeper, private: private, keeper: keeper, relays: []*relay{startRelay(listener, loopback(private), keeper.knows)}}, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// admit lets a process in: it enters the network by itself, or the doorkeeper is told of it.
func (f *firewall) admit(pid int) (network string) {
	if f.keeper != nil {
		f.keeper.admit(pid)
	}
	return f.network
}

// close ends it after everything inside has ended.
func (f *firewall) close() {
	for _, r := range f.relays {
		r.close()
	}
	if f.spawner != nil {
		f.spawner.close()
	}
}
