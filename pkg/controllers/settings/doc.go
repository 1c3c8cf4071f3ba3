// Package settings keeps what a plane can change while it runs: it watches the KubeFedConfig named kubefed, holds what
// it asks for on top of the process's own configuration, and tells those who want to know of changes.
//
// The rooms read a Live; they never see the KubeFedConfig. Values that cannot be read leave what was in force
// (pkg/settings), and condition Accepted and an event say so. The config is read once before anything runs: propagation
// must not act for a moment as if a gate were on that is off.
//
// It must not be read through typed caches: one value of a wrong type would keep a typed list, and with it all
// controllers, from ever being filled.
package settings
