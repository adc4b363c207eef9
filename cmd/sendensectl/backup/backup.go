// Package backup holds the commands of backups and their restore points, one file a verb: start, watch, wait, list, show, cancel, delete,
// verify, chain, prune, consolidate. It prints what the agent answers; what a backup is, the agent knows.
package backup

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("backup", "Backups: under way, done and failed",
		startCommand(a), watchCommand(a), waitCommand(a), listCommand(a), showCommand(a), cancelCommand(a), deleteCommand(a),
		verifyCommand(a), chainCommand(a), pruneCommand(a), consolidateCommand(a))
}
