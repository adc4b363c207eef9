package rpc

import "time"

// GroupRef names a group.
type GroupRef struct {
	GroupID string `json:"group_id"`
}

// Group is a configured group of VMs as it is now.
type Group struct {
	GroupID    string        `json:"group_id"`
	VMCount    int           `json:"vm_count"`              // VMs that belong to it
	Schedules  []string      `json:"schedules,omitempty"`   // ids of the schedules that back it up
	RPOSeconds int64         `json:"rpo_seconds,omitempty"` // oldest that the newest restore point of a VM may be; 0 is as configured for all VMs
	Overdue    int           `json:"overdue"`               // VMs whose newest restore point is older than that
	Members    []GroupMember `json:"members,omitempty"`     // of group.get: by name
}

// GroupMember is a VM that fits the rules of a group.
type GroupMember struct {
	VMName string `json:"vm_name"`
	In     bool   `json:"in"`  // false: it is left out
	Why    string `json:"why"` // the rules that decide it, for a person

	Backups VMBackups `json:"backups"` // how its backups stand
}

// GroupList is the result of group.list.
type GroupList struct {
	Groups    []Group  `json:"groups"`              // in the order of the configuration
	Ungrouped []string `json:"ungrouped,omitempty"` // VMs that no group chooses or excludes: no schedule backs them up
}

// ScheduleRef names a schedule.
type ScheduleRef struct {
	ScheduleID string `json:"schedule_id"`
}

// ScheduleQuery asks for schedules and their next times.
type ScheduleQuery struct {
	ScheduleID string `json:"schedule_id,omitempty"` // "" is every schedule
	Count      int    `json:"count,omitempty"`       // next times of each, 1 to 1000; 0 is 1
}

// SchedulePause asks to pause a schedule.
type SchedulePause struct {
	ScheduleID string `json:"schedule_id"`
	Reason     string `json:"reason,omitempty"` // for messages: one line, at most 256 bytes; "" keeps the earlier one
}

// Schedule is a configured schedule as it is now.
type Schedule struct {
	ScheduleID string      `json:"schedule_id"`
	GroupIDs   []string    `json:"group_ids"`
	Calendar   string      `json:"calendar"`            // expression of systemd.time(7)
	TimeZone   string      `json:"time_zone,omitempty"` // "" is the host's
	BackupType BackupType  `json:"backup_type" enum:"full,incremental,auto"`
	Next       []time.Time `json:"next,omitempty"`    // when its next runs begin; absent while it is paused
	Error      string      `json:"error,omitempty"`   // why the next times are not known
	Paused     *Pause      `json:"paused,omitempty"`  // absent if it is not paused
	Running    *Run        `json:"running,omitempty"` // the run in progress
	Last       *Run        `json:"last,omitempty"`    // the run with the latest due time
}

// ScheduleList is the result of schedule.list.
type ScheduleList struct {
	Schedules []Schedule `json:"schedules"` // in the order of the configuration
}

// RunRef names a run.
type RunRef struct {
	RunID string `json:"run_id"`
}

// RunQuery selects runs.
type RunQuery struct {
	ScheduleID string    `json:"schedule_id,omitempty"` // "" is every schedule
	Since      time.Time `json:"since,omitzero"`        // due then or later
	Until      time.Time `json:"until,omitzero"`        // due before then
	Active     bool      `json:"active,omitempty"`      // only those in progress
	Limit      int       `json:"limit,omitempty"`       // 1 to 1000; 0 is 100
}

// RunState is how far a run is.
type RunState string

// The states of a run. All but the first are ends.
const (
	RunRunning   RunState = "running"
	RunCompleted RunState = "completed" // every VM was backed up
	RunPartial   RunState = "partial"   // some VMs were not
	RunFailed    RunState = "failed"    // no VM was, and some failed
	RunCanceled  RunState = "canceled"
	RunSkipped   RunState = "skipped" // it did not begin: why says why
)

// Run is one time that the VMs of a schedule are backed up.
type Run struct {
	RunID      string    `json:"run_id"`
	ScheduleID string    `json:"schedule_id"`
	GroupIDs   []string  `json:"group_ids"`
	State      RunState  `json:"state" enum:"running,completed,partial,failed,canceled,skipped"`
	Why        string    `json:"why,omitempty"` // why it was skipped or canceled
	Due        time.Time `json:"due"`           // when it was due, or when it was asked for
	Manual     bool      `json:"manual,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	WindowEnd  time.Time `json:"window_end,omitzero"` // no backup starts later
	Canceling  bool      `json:"canceling,omitempty"` // somebody has canceled it, and its backups are being canceled
	Warnings   []string  `json:"warnings,omitempty"`  // vCenters that could not be asked for their VMs
	Counts     RunCounts `json:"counts"`
	VMs        []RunVM   `json:"vms,omitempty"` // of run.get: in the order of the run
}

// RunCounts are numbers of VMs of a run.
type RunCounts struct {
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Canceled  int `json:"canceled"`
}

// RunVM is a VM of a run.
type RunVM struct {
	VMName  string    `json:"vm_name"`
	State   string    `json:"state" enum:"waiting,running,completed,failed,skipped,canceled"`
	Why     string    `json:"why,omitempty"`     // why it was skipped or canceled
	NextTry time.Time `json:"next_try,omitzero"` // of a VM that waits for a further try
	Tries   []RunTry  `json:"tries,omitempty"`   // in order
	EndedAt time.Time `json:"ended_at,omitzero"` // when it reached its last state

	// FirstError is the error of the first try that failed: later ones are often its consequences.
	FirstError *Failure `json:"first_error,omitempty"`
}

// RunTry is one backup of a VM in a run, or the attempt to start one.
type RunTry struct {
	BackupID   string     `json:"backup_id,omitempty"` // "" if none was put on record
	BackupType BackupType `json:"backup_type"`         // asked for
	Began      time.Time  `json:"began"`
	Ended      time.Time  `json:"ended,omitzero"`
	Failure    *Failure   `json:"failure,omitempty"`

	ReceivedBytes uint64 `json:"received_bytes"` // on the network

	Free bool `json:"free,omitempty"` // it does not count against the limit of tries: nothing was wrong with the VM
}

// RunList is the result of run.list.
type RunList struct {
	Runs []Run `json:"runs"` // the latest due time first
}
