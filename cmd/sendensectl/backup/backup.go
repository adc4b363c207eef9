// Package backup has the commands of backups and their restore points, one file per verb: start, watch, wait, list, show, cancel,
// delete, verify, chain, prune, synthetic-full. It sends requests and prints answers; the agent does the work.
package backup

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

// Command makes "backup" with its verbs.
func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("backup", "Start, show, verify and delete backups",
		startCommand(a), watchCommand(a), waitCommand(a), listCommand(a), showCommand(a), cancelCommand(a), deleteCommand(a),
		verifyCommand(a), chainCommand(a), pruneCommand(a), syntheticFullCommand(a), consolidateCommand(a))
}
