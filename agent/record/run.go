package record

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// A Run is one time that the VMs of a schedule are backed up. Its settings are those of the configuration when it began.
type Run struct {
	ID        string    `json:"id"`       // RunID of schedule and due time
	Schedule  string    `json:"schedule"` // id
	Groups    []string  `json:"groups"`   // ids
	Due       time.Time `json:"due"`      // when it was due; when it was asked for, if by a person
	Manual    bool      `json:"manual,omitempty"`
	State     RunState  `json:"state"`
	Why       string    `json:"why,omitempty"` // why it was skipped or canceled
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	WindowEnd time.Time `json:"window_end,omitzero"` // no backup starts later; zero = no end

	Prepared          bool     `json:"prepared,omitempty"`            // the hooks before it have ended
	Resolved          bool     `json:"resolved,omitempty"`            // its VMs are on record
	CancelAfterWindow bool     `json:"cancel_after_window,omitempty"` // backups that run at the end of the window are canceled
	Canceling         bool     `json:"canceling,omitempty"`           // a person has asked for its end
	Warnings          []string `json:"warnings,omitempty"`            // vCenters that could not be asked for their VMs
	Counts            Counts   `json:"counts"`                        // of the VMs, when it ended
}

// Over reports whether the window of the run has ended.
func (r Run) Over(now time.Time) bool { return !r.WindowEnd.IsZero() && !now.Before(r.WindowEnd) }

// Counts are numbers of VMs of a run.
type Counts struct {
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Canceled  int `json:"canceled"`
}

// RunState is how far a run is.
type RunState string

// The states of a run. All but the first are ends.
const (
	RunRunning   RunState = "running"
	RunCompleted RunState = "completed" // every VM
	RunPartial   RunState = "partial"   // some VMs failed or were skipped
	RunFailed    RunState = "failed"    // no VM completed
	RunCanceled  RunState = "canceled"  // by a person
	RunSkipped   RunState = "skipped"   // it did not begin: Why says why
)

// A RunVM is a VM of a run.
type RunVM struct {
	RunID   string     `json:"run_id"`
	VM      string     `json:"vm"`
	State   RunVMState `json:"state"`
	Why     string     `json:"why,omitempty"`     // why it was skipped or canceled
	NextTry time.Time  `json:"next_try,omitzero"` // while it waits for a further try
	Tries   []Try      `json:"tries,omitempty"`   // in order
	Place   int        `json:"place"`             // in the order of the run, from 0
	EndedAt time.Time  `json:"ended_at,omitzero"` // when it reached its last state
}

// RunVMState is how far a VM of a run is.
type RunVMState string

// The states of a VM in a run. The first two are not ends.
const (
	RunVMWaiting   RunVMState = "waiting"
	RunVMRunning   RunVMState = "running"
	RunVMCompleted RunVMState = "completed"
	RunVMFailed    RunVMState = "failed"
	RunVMSkipped   RunVMState = "skipped"
	RunVMCanceled  RunVMState = "canceled"
)

// An End is how a VM of a run ends without a further try.
type End struct {
	State RunVMState
	Why   string
}

// Ended reports whether the VM is done with.
func (s RunVMState) Ended() bool { return s != RunVMWaiting && s != RunVMRunning }

// A Try is one backup of a VM in a run, or the attempt to start one.
type Try struct {
	RequestID string    `json:"request_id"` // of its start
	BackupID  string    `json:"backup_id,omitempty"`
	Type      Type      `json:"type"` // asked for
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"` // zero while it runs
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"` // of the error, cut to MaxTryMessage bytes
	Hint      string    `json:"hint,omitempty"`
	Received  uint64    `json:"received_bytes,omitempty"` // on the network
	Free      bool      `json:"free,omitempty"`           // it does not count against the limit of tries
}

// MaxTryMessage limits the error messages of the tries, in bytes: a record of a run keeps many.
const MaxTryMessage = 1024

// RunID is the id of the run of a schedule that was due at a time, to the second. There is one run for each, so two schedulers cannot make
// two of it.
func RunID(schedule string, due time.Time) string {
	return schedule + "-" + due.UTC().Format("20060102T150405Z")
}

// TryRequestID is the request id of a try of a VM in a run; try counts from 1. A name that would make it too long is hashed.
func TryRequestID(runID, vm string, try int) string {
	id := fmt.Sprintf("run/%s/%d/%s", runID, try, vm)
	if len(id) > MaxNameBytes {
		id = fmt.Sprintf("run/%s/%d/%x", runID, try, sha256.Sum256([]byte(vm)))
	}
	return id
}

// FirstError returns the first try that failed, if any did: later errors are often only consequences.
func (v RunVM) FirstError() (Try, bool) {
	for _, t := range v.Tries {
		if t.Reason != "" && !t.Free {
			return t, true
		}
	}
	return Try{}, false
}

// Counted is how many tries count against the limit.
func (v RunVM) Counted() (n int) {
	for _, t := range v.Tries {
		if !t.Free {
			n++
		}
	}
	return n
}

// CountOf counts the ends of the VMs of a run, and returns the state of a run that ended so.
func CountOf(vms []RunVM) (c Counts, state RunState) {
	for _, v := range vms {
		switch v.State {
		case RunVMCompleted:
			c.Completed++
		case RunVMFailed:
			c.Failed++
		case RunVMSkipped:
			c.Skipped++
		case RunVMCanceled:
			c.Canceled++
		}
	}
	switch missed := c.Failed + c.Skipped + c.Canceled; {
	case missed == 0:
		return c, RunCompleted
	case c.Completed == 0 && c.Failed > 0:
		return c, RunFailed
	default:
		return c, RunPartial
	}
}

// A ScheduleState is what is on record about a schedule besides its configuration.
type ScheduleState struct {
	ID          string    `json:"id"`
	Handled     time.Time `json:"handled"`               // the last due time that had a run or was skipped; at first, when the schedule was first seen
	PausedSince time.Time `json:"paused_since,omitzero"` // zero = it is not paused
	Reason      string    `json:"reason,omitempty"`      // of the person who paused it
}
