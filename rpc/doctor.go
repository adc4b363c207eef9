package rpc

import "time"

// Values of the status of a finding and of a whole report. A report is never skipped.
const (
	DoctorOK      = "ok"
	DoctorWarning = "warning" // backups work, but something is not as it should be
	DoctorError   = "error"   // backups do not work, or will stop working
	DoctorSkipped = "skipped" // it could not be checked
)

// Finding is the result of one check of one object.
type Finding struct {
	Check   string            `json:"check"`
	Object  string            `json:"object,omitempty"` // a path, a port, the id of a repository, ...
	Status  string            `json:"status"`
	Message string            `json:"message"`
	Hint    string            `json:"hint,omitempty"` // what to do; always present for a warning and an error
	Facts   map[string]string `json:"facts,omitempty"`
}

// DoctorReport is the result of agent.doctor: the checks of a running agent and of what backups need.
type DoctorReport struct {
	Version   string    `json:"version"`
	CheckedAt time.Time `json:"checked_at"`
	Status    string    `json:"status"` // of the worst finding
	Errors    int       `json:"errors"`
	Warnings  int       `json:"warnings"`
	Findings  []Finding `json:"findings"`
}

// LogLevel is the lowest level that the agent logs: debug, info, warn or error.
type LogLevel struct {
	Level string `json:"level,omitempty"` // as a parameter: "" changes nothing
}
