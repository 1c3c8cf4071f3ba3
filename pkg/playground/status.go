package playground

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// State is what a member is doing.
type State string

// The states of a member.
const (
	// Starting: the process runs, the member does not answer yet.
	Starting State = "Starting"
	// Ready: its API server, controllers and nodes are ready.
	Ready State = "Ready"
	// Paused: the process is there and does nothing; requests hang.
	Paused State = "Paused"
	// Stopping: it was told to end.
	Stopping State = "Stopping"
	// Stopped: it ended because it was told to.
	Stopped State = "Stopped"
	// Failed: it ended by itself.
	Failed State = "Failed"
)

// MemberStatus is what a playground tells of one member.
type MemberStatus struct {
	Name       string `json:"name"`
	State      State  `json:"state"`
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig"`
	// Firewall is what the member stands behind; empty when whoever is on the machine can reach it.
	Firewall Firewall `json:"firewall,omitempty"`
	// AuditLog is empty unless requests are logged.
	AuditLog string `json:"auditLog,omitempty"`
	PID      int    `json:"pid,omitempty"`
	// ReadySeconds is how long the last start took.
	ReadySeconds float64 `json:"readySeconds,omitempty"`
	// ResidentMiB is the memory the process holds now; 0 where the system does not tell.
	ResidentMiB int `json:"residentMiB,omitempty"`
	// Message says why a member failed.
	Message string `json:"message,omitempty"`
}

// Status is what a playground tells of itself.
type Status struct {
	Dir     string         `json:"dir"`
	PID     int            `json:"pid"`
	Members []MemberStatus `json:"members"`
}

// AllReady tells whether every member is.
func (s *Status) AllReady() bool {
	for _, member := range s.Members {
		if member.State != Ready {
			return false
		}
	}
	return true
}

// Print writes the status as a table.
func (s *Status) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "MEMBER\tSTATE\tSERVER\tPID\tMEMORY\tKUBECONFIG")
	for _, m := range s.Members {
		pid, memory := "-", "-"
		if m.PID != 0 {
			pid = strconv.Itoa(m.PID)
		}
		if m.ResidentMiB != 0 {
			memory = fmt.Sprintf("%d MiB", m.ResidentMiB)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.State, m.Server, pid, memory, m.Kubeconfig)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing status: %w", err)
	}
	return nil
}

// residentMiB asks the system for the memory of a process; it is told for information only, so a system that
// does not answer is no error.
func residentMiB(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "VmRSS:" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0
			}
			return kib / 1024
		}
	}
	return 0
}
