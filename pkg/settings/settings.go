package settings

import (
	"time"

	"github.com/cellfed/cellfed/pkg/features"
)

// Settings are those that may change while the plane runs. They are compared with ==.
type Settings struct {
	Gates features.Gates
	// AdoptByDefault: member objects that are there already are taken over without being asked for one by one.
	AdoptByDefault bool
	// StrictNamespaces: without a FederatedNamespace nothing is placed anew in a namespace.
	StrictNamespaces bool
	// Workers is how many federated objects of one type are worked on at the same time.
	Workers int
	Health  Health
}

// Health says how members are watched over.
type Health struct {
	// Period is how often a ready member is asked for its health, Timeout how long it may take to answer.
	Period, Timeout time.Duration
	// FailureThreshold and SuccessThreshold are how many results in a row change a member's health.
	FailureThreshold, SuccessThreshold int
}

// Bounds of what makes sense. Below the shortest period or timeout a member would be asked without a pause, or never
// have the time to answer.
const (
	shortest    = 100 * time.Millisecond
	mostWorkers = 1024
	mostResults = 1000
)
