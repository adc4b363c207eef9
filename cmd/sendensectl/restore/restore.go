// Package restore has the commands of restores, one file per verb: start, list, show, stop, watch. The two commands that copy data
// have their own packages: disk and files.
package restore

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/disk"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/files"
)

// Command makes "restore" with its verbs.
func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("restore", "Restore disks and files, or serve a restore point over NBD",
		startCommand(a), listCommand(a), showCommand(a), stopCommand(a), watchCommand(a), disk.Command(a), files.Command(a))
}
