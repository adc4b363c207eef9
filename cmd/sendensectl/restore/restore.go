// Package restore holds the commands of restores, one file a verb: start, list, show, stop, watch. The two that copy are packages of their
// own below it: disk and files.
package restore

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/disk"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/files"
)

func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("restore", "Restore points that are served, and disks and files out of them",
		startCommand(a), listCommand(a), showCommand(a), stopCommand(a), watchCommand(a), disk.Command(a), files.Command(a))
}
