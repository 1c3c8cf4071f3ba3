package member

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ErrUnknown is returned for a name that no engaged member has.
var ErrUnknown = errors.New("no such member")

// Reasons of a NotConnectedError that the Fleet itself gives; others are given by whoever tells it of reachability.
const (
	// ReasonConnecting says that the member was engaged and nobody has heard of it yet.
	ReasonConnecting = "Connecting"
	// ReasonDisengaged says that the member has been taken out of the fleet.
	ReasonDisengaged = "Disengaged"
	// ReasonReconfigured says that this connection was replaced by one with another configuration.
	ReasonReconfigured = "Reconfigured"
	// ReasonStopped says that the fleet's own life has ended.
	ReasonStopped = "Stopped"
)

// NotConnectedError says that a member cannot be spoken to now, and why.
type NotConnectedError struct {
	Member  string
	Reason  string
	Message string
}

// Error implements error.
func (e *NotConnectedError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("member %s is not connected: %s", e.Member, e.Reason)
	}
	return fmt.Sprintf("member %s is not connected: %s: %s", e.Member, e.Reason, e.Message)
}

// LacksKindError says that a member does not serve a kind.
type LacksKindError struct {
	Member string
	GVR    schema.GroupVersionResource
}

// Error implements error.
func (e *LacksKindError) Error() string {
	return fmt.Sprintf("member %s does not serve %s", e.Member, nameOf(e.GVR))
}

// ForbiddenError says that the plane's credentials do not let it read a kind.
type ForbiddenError struct {
	Member string
	GVR    schema.GroupVersionResource
	Err    error
}

// Error implements error.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("member %s does not let the plane read %s: %v", e.Member, nameOf(e.GVR), e.Err)
}

// Unwrap gives the member's own answer.
func (e *ForbiddenError) Unwrap() error { return e.Err }

// UnauthorizedError says that a member does not accept the plane's credentials.
type UnauthorizedError struct {
	Member string
	Err    error
}

// Error implements error.
func (e *UnauthorizedError) Error() string {
	return fmt.Sprintf("member %s does not accept the plane's credentials: %v", e.Member, e.Err)
}

// Unwrap gives the member's own answer.
func (e *UnauthorizedError) Unwrap() error { return e.Err }

// nameOf writes a resource the way users know it: deployments.apps/v1, configmaps/v1.
func nameOf(gvr schema.GroupVersionResource) string {
	if gvr.Group == "" {
		return gvr.Resource + "/" + gvr.Version
	}
	return gvr.Resource + "." + gvr.Group + "/" + gvr.Version
}
