package membership

import "time"

// Thresholds say how many equal results in a row change a member's health.
type Thresholds struct {
	Failure, Success int
}

// result is what one probe found.
type result struct {
	ok bool
	// reachable: an answer came, though perhaps not a good one.
	reachable       bool
	reason, message string
	version         string
	// pinning: the member's identity was found out and is not recorded yet. Nothing is told of it before.
	pinning bool
}

func (r result) sameAs(o result) bool {
	return r.ok == o.ok && r.reachable == o.reachable && r.reason == o.reason && r.message == o.message
}

// health is what the probes so far add up to. The zero value is that of a member nobody has asked.
type health struct {
	known bool
	// told is the result that stands: it is what the member is said to be.
	told result
	// last and run are the latest result that differs from the one told, and how often it came in a row.
	last result
	run  int
}

// next adds a result. The first counts at once. A failure of a ready member counts when Failure failures have come in
// a row, whatever their reasons; of a member that is not ready, another reason is told when it has come as often.
func (h health) next(r result, th Thresholds) health {
	if r.ok && r.version == "" {
		r.version = h.told.version
	}
	if !h.known {
		return health{known: true, told: r}
	}
	if !r.ok {
		r.version = h.told.version
	}
	if r.sameAs(h.told) {
		h.told.version = r.version
		h.run = 0
		return h
	}
	again := h.run > 0 && r.sameAs(h.last)
	if h.told.ok != r.ok { // up or down is what counts, not the words for it
		again = h.run > 0 && r.ok == h.last.ok
	}
	if !again {
		h.run = 0
	}
	h.run++
	h.last = r
	threshold := th.Failure
	if r.ok {
		threshold = th.Success
	}
	if h.run >= threshold {
		return health{known: true, told: r}
	}
	return h
}

// wavering tells that a ready member has begun to fail and the threshold has not been reached.
func (h health) wavering() bool { return h.known && h.told.ok && h.run > 0 }

// pause is how long to wait before the next probe.
func (h health) pause(o Options) time.Duration {
	switch {
	case h.wavering():
		return min(o.SuspicionPeriod, o.Period)
	case !h.told.ok:
		return min(o.RecoveryPeriod, o.Period)
	}
	return o.Period
}
