// Package hint writes commands for a person to type next. It replaces the methods that the agent names in its hints, and quotes
// names of VMs for a shell.
package hint

import (
	"strings"

	"github.com/sendense/backup-agent/rpc"
)

// Names are the commands for the methods that the agent's hints name. The agent writes its hints for programs.
var Names = map[string]string{
	rpc.MethodBackupGet:      "backup show",
	rpc.MethodBackupList:     "backup list",
	rpc.MethodBackupCancel:   "backup cancel",
	rpc.MethodBackupDelete:   "backup delete",
	rpc.MethodBackupPrune:    "backup prune",
	rpc.MethodVMPut:          "vm add",
	rpc.MethodVMGet:          "vm show",
	rpc.MethodVMList:         "vm list",
	rpc.MethodVMDiscover:     "vm discover",
	rpc.MethodRepositoryList: "repository list",
	rpc.MethodRestoreStart:   "restore start",
	rpc.MethodRestoreGet:     "restore show",
	rpc.MethodRestoreList:    "restore list",
	rpc.MethodRestoreStop:    "restore stop",
	rpc.MethodExportList:     "export list",
	rpc.MethodAgentStatus:    "status",
	rpc.MethodAgentDoctor:    "doctor",
}

// InCommands replaces the methods in a hint by commands.
func InCommands(hint string) string {
	var pairs []string
	for method, command := range Names {
		pairs = append(pairs, method, "sendensectl "+command)
	}
	return strings.NewReplacer(pairs...).Replace(hint)
}
