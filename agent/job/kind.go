package job

import (
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
)

// A Kind is what a job moves along: how messages, errors and log lines name it.
type Kind struct {
	noun, logKey string
	of           func(e *fault.Error, id string) *fault.Error
}

// The kinds of records.
var (
	Backup  = Kind{noun: "backup", logKey: logkey.BackupID, of: (*fault.Error).OfBackup}
	Restore = Kind{noun: "restore", logKey: logkey.RestoreID, of: (*fault.Error).OfRestore}
)

// String is the noun.
func (k Kind) String() string { return k.noun }
