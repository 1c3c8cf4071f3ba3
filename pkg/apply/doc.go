// Package apply carries out plans in members: it writes, confirms, and remembers what only the writer can know.
//
// It must not decide: each call follows from one step of a plan, and what came of it goes back as a Result for the
// next plan. It waits for no member longer than its patience: a call that a member does not answer stays under way in
// the Ledger, its unit is left alone meanwhile, and its end wakes the object again. So a member that hangs costs the
// others at most one patience, once, and no worker.
//
// The Ledger is a memory of the process and may be lost at any moment: marks in the members and the federated object's
// status are the truth. It saves needless writes (a watch is always a little behind one's own writes) and keeps
// failures from being repeated without a pause.
//
// Others write too. A PUT that they overtake is made anew as a patch of what is the plane's; and somebody who changes the
// same thing again and again is put right a few times only, then left alone for a while (contest.go).
package apply
