package describe

import (
	"fmt"

	"github.com/sendense/backup-agent/rpc"
)

// Restore describes the state of a restore in one line.
func Restore(r rpc.Restore) string {
	what := "disks"
	if r.FilesSocket != "" {
		what = "files"
	}
	line := fmt.Sprintf("%s: %s, %s of %s", r.RestoreID, r.State, what, r.BackupID)
	if r.Failure != nil {
		line += ": " + r.Failure.Message
	}
	return line
}
