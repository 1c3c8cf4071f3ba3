package settings

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cellfed/cellfed/pkg/features"
	"github.com/cellfed/cellfed/pkg/settings"
)

// Live is the settings that are in force now.
type Live struct {
	base    settings.Settings
	current atomic.Pointer[settings.Settings]

	// changing is held while listeners are told, so that they hear of changes in order.
	changing  sync.Mutex
	mu        sync.Mutex
	listeners []*func(before, now settings.Settings)
}

// NewLive returns settings that are base until a KubeFedConfig says otherwise.
func NewLive(base settings.Settings) *Live {
	l := &Live{base: base}
	l.current.Store(&base)
	return l
}

// Current is all settings at one moment.
func (l *Live) Current() settings.Settings { return *l.current.Load() }

// Gates are the feature gates.
func (l *Live) Gates() features.Gates { return l.Current().Gates }

// AdoptByDefault tells whether member objects that are there already are taken over without being asked for.
func (l *Live) AdoptByDefault() bool { return l.Current().AdoptByDefault }

// StrictNamespaces tells whether a namespace without a FederatedNamespace gets nothing new.
func (l *Live) StrictNamespaces() bool { return l.Current().StrictNamespaces }

// Workers is how many federated objects of one type are worked on at the same time.
func (l *Live) Workers() int { return l.Current().Workers }

// Subscribe has fn called after each change until cancel is called.
func (l *Live) Subscribe(fn func(before, now settings.Settings)) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := &fn
	l.listeners = append(slices.Clip(l.listeners), entry)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.listeners = slices.DeleteFunc(slices.Clone(l.listeners), func(other *func(before, now settings.Settings)) bool { return other == entry })
	}
}

// set puts settings in force, and tells whether they are others than before.
func (l *Live) set(next settings.Settings) bool {
	l.changing.Lock()
	defer l.changing.Unlock()
	before := *l.current.Swap(&next)
	if before == next {
		return false
	}
	l.mu.Lock()
	listeners := l.listeners
	l.mu.Unlock()
	for _, fn := range listeners {
		(*fn)(before, next)
	}
	return true
}
