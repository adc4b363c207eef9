// Package vm holds the commands of VMs, one file a verb: add, import, discover, list, show, remove. The importer reads JSON
// (importjson.go) and CSV (importcsv.go).
package vm

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("vm", "VMs that can be backed up",
		addCommand(a), importCommand(a), discoverCommand(a), listCommand(a), showCommand(a), removeCommand(a))
}
