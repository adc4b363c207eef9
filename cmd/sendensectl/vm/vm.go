// Package vm has the commands of VMs, one file per verb: add, import, discover, list, show, remove. The import reads JSON
// (importjson.go) and CSV (importcsv.go).
package vm

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

// Command makes "vm" with its verbs.
func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("vm", "Manage the VMs that can be backed up",
		addCommand(a), importCommand(a), discoverCommand(a), listCommand(a), showCommand(a), removeCommand(a))
}
