package hub

import (
	"errors"
	"fmt"
	"time"
)

var (
	errClosing = errors.New("the server is closing")
	errGone    = errors.New("the agent's stream ended")
	// errStalled ends a connection whose reader does not read, or too slowly.
	errStalled = errors.New("the connection was ended because it was read too slowly: it held up the others of its tunnel")
	errMany    = errors.New("too many dials are waiting for the agent")
)

// NoAgentError says that nobody holds a tunnel to a member open.
type NoAgentError struct {
	Cluster string
	// Unknown says that the hub does not know the member at all.
	Unknown bool
}

// Error implements error.
func (e *NoAgentError) Error() string {
	if e.Unknown {
		return fmt.Sprintf("no tunnel leads to %s: there is no such member with spec.tunnel", e.Cluster)
	}
	return fmt.Sprintf("no agent of member %s is connected", e.Cluster)
}

// RevokedError says that the agents of a member are not admitted.
type RevokedError struct{ Cluster string }

// Error implements error.
func (e *RevokedError) Error() string {
	return fmt.Sprintf("the agents of member %s were revoked: join it anew", e.Cluster)
}

// RefusedError is what an agent says about an address that it did not connect to.
type RefusedError struct{ Cluster, Address, Says string }

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the agent of member %s cannot reach %s: %s", e.Cluster, e.Address, e.Says)
}

// SlowAgentError says that an agent did not answer a dial in time.
type SlowAgentError struct {
	Cluster, Address string
	After            time.Duration
}

// Error implements error.
func (e *SlowAgentError) Error() string {
	return fmt.Sprintf("the agent of member %s did not answer within %s whether it reaches %s", e.Cluster, e.After, e.Address)
}

// Timeout implements net.Error.
func (e *SlowAgentError) Timeout() bool { return true }

// Temporary implements net.Error.
func (e *SlowAgentError) Temporary() bool { return true }
