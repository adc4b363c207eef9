package doctor

import (
	"time"
)

// Status is how serious a finding is.
type Status string

// The values of Status.
const (
	OK      Status = "ok"
	Warning Status = "warning" // backups work, but something is not right
	Error   Status = "error"   // backups do not work, or will stop working
	Skipped Status = "skipped" // could not be checked
)

// A Finding is the result of one check of one object. Programs rely on the names of its fields and of the checks.
type Finding struct {
	Check   string            `json:"check"`
	Object  string            `json:"object,omitempty"` // a path, a port, the id of a repository, ...
	Status  Status            `json:"status"`
	Message string            `json:"message"`
	Hint    string            `json:"hint,omitempty"` // what to do; never empty for a warning or an error
	Facts   map[string]string `json:"facts,omitempty"`
}

// A Report holds all findings.
type Report struct {
	Version   string    `json:"version"` // of the program that made it
	CheckedAt time.Time `json:"checked_at"`
	Status    Status    `json:"status"` // of the worst finding: ok, warning or error
	Errors    int       `json:"errors"`
	Warnings  int       `json:"warnings"`
	Findings  []Finding `json:"findings"`
}

func newReport(version string, findings []Finding) Report {
	r := Report{Version: version, CheckedAt: time.Now().UTC().Truncate(time.Second), Status: OK, Findings: findings}
	for _, f := range findings {
		switch f.Status {
		case Error:
			r.Errors++
		case Warning:
			r.Warnings++
		}
	}
	switch {
	case r.Errors > 0:
		r.Status = Error
	case r.Warnings > 0:
		r.Status = Warning
	}
	return r
}

// subject is the check and the object of findings.
type subject struct{ check, object string }

func one(check, object string) subject { return subject{check, object} }

func (s subject) finding(status Status, message, hint string) Finding {
	return Finding{Check: s.check, Object: s.object, Status: status, Message: message, Hint: hint}
}

func (s subject) ok(message string) []Finding { return []Finding{s.finding(OK, message, "")} }

func (s subject) warn(message, hint string) []Finding {
	return []Finding{s.finding(Warning, message, hint)}
}

func (s subject) error(message, hint string) []Finding {
	return []Finding{s.finding(Error, message, hint)}
}

func (s subject) skip(message, hint string) []Finding {
	return []Finding{s.finding(Skipped, message, hint)}
}

// with adds a fact to every finding, unless it is empty.
func with(found []Finding, key, value string) []Finding {
	for i := range found {
		if value == "" {
			continue
		}
		if found[i].Facts == nil {
			found[i].Facts = map[string]string{}
		}
		found[i].Facts[key] = value
	}
	return found
}

// worst is the most serious status among findings.
func worst(found []Finding) Status {
	rank := map[Status]int{OK: 0, Skipped: 1, Warning: 2, Error: 3}
	status := OK
	for _, f := range found {
		if rank[f.Status] > rank[status] {
			status = f.Status
		}
	}
	return status
}
