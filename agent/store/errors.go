package store

import (
	"fmt"
)

// RequestMismatchError refuses a request id that was used before for something else.
type RequestMismatchError struct {
	RequestID, BackupID string
	Field               string // vm_name, backup_type or repository_id
	First, Now          string // what the field was in the first request, and in this one
}

func (e *RequestMismatchError) Error() string {
	return fmt.Sprintf("request_id %q: was used for %s with %s %q, now %q: use a new request_id",
		e.RequestID, e.BackupID, e.Field, e.First, e.Now)
}

// ClaimError refuses a name that an active backup, or another disk of the same one, already has.
type ClaimError struct {
	Kind     string // unit, export, image or directory
	Name     string
	BackupID string // who has it
}

func (e *ClaimError) Error() string {
	return fmt.Sprintf("%s %q: already belongs to backup %s", e.Kind, e.Name, e.BackupID)
}

// RestoresError refuses one restore more than may be active at a time.
type RestoresError struct{ Active, Most int }

func (e *RestoresError) Error() string {
	return fmt.Sprintf("%d restores are active, the limit is %d: stop one first", e.Active, e.Most)
}
