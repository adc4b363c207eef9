package schema

import (
	"fmt"
)

// NotFoundError says that there is no such record.
type NotFoundError struct {
	Kind string // KindVM, KindBackup, KindRestore or KindRun
	Name string
}

// The kinds of records.
const (
	KindVM      = "vm"
	KindBackup  = "backup"
	KindRestore = "restore"
	KindRun     = "run"
)

func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %q: not found", e.Kind, e.Name) }

// NewerSchemaError refuses a file that a newer agent has written.
type NewerSchemaError struct {
	Path               string
	Version, Supported int
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("database %s: schema version %d, this agent knows versions up to %d: install the newer agent again",
		e.Path, e.Version, e.Supported)
}
