package store

import (
	"fmt"
)

// RequestMismatchError refuses a request id that was used before for another request.
type RequestMismatchError struct {
	RequestID, BackupID string
	Field               string // vm_name, backup_type or repository_id
	First, Now          string // the field in the first request, and in this one
}

func (e *RequestMismatchError) Error() string {
	return fmt.Sprintf("request_id %q: was used for %s with %s %q, now %q: use a new request_id",
		e.RequestID, e.BackupID, e.Field, e.First, e.Now)
}

// ClaimError refuses a name that an active backup, or another disk of the same backup, already has.
type ClaimError struct {
	Kind     string // unit, export, image or directory
	Name     string
	BackupID string // the backup that has it
}

func (e *ClaimError) Error() string {
	return fmt.Sprintf("%s %q: already belongs to backup %s", e.Kind, e.Name, e.BackupID)
}

// RestoresError refuses a restore when the limit of active restores is reached.
type RestoresError struct{ Active, Limit int }

func (e *RestoresError) Error() string {
	return fmt.Sprintf("%d restores are active, the limit is %d: stop one first", e.Active, e.Limit)
}
