// Package hint writes commands for a person to type next. It replaces the methods that the agent names in its hints, and quotes
// names of VMs for a shell.
package hint

import (
	"maps"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/rpc"
)

// Names are the commands for the methods that the agent's hints name. The agent writes its hints for programs.
var Names = map[string]string{
	rpc.MethodBackupStart:         "backup start",
	rpc.MethodBackupGet:           "backup show",
	rpc.MethodBackupList:          "backup list",
	rpc.MethodBackupCancel:        "backup cancel",
	rpc.MethodBackupCancelVerify:  "backup cancel --verify",
	rpc.MethodBackupCancelMerge:   "backup cancel --merge",
	rpc.MethodBackupDelete:        "backup delete",
	rpc.MethodBackupPrune:         "backup prune",
	rpc.MethodBackupSyntheticFull: "backup synthetic-full",
	rpc.MethodBackupVerify:        "backup verify",
	rpc.MethodBackupChain:         "backup chain",
	rpc.MethodBackupWatch:         "backup watch",
	rpc.MethodVMPut:               "vm add",
	rpc.MethodVMGet:               "vm show",
	rpc.MethodVMList:              "vm list",
	rpc.MethodVMRemove:            "vm remove",
	rpc.MethodVMDiscover:          "vm discover",
	rpc.MethodRepositoryList:      "repository list",
	rpc.MethodRepositoryGet:       "repository show",
	rpc.MethodRestoreStart:        "restore start",
	rpc.MethodRestoreGet:          "restore show",
	rpc.MethodRestoreList:         "restore list",
	rpc.MethodRestoreStop:         "restore stop",
	rpc.MethodRestoreWatch:        "restore watch",
	rpc.MethodExportList:          "export list",
	rpc.MethodAgentStatus:         "status",
	rpc.MethodAgentDoctor:         "doctor",
}

// InCommands replaces the methods in a hint by commands.
func InCommands(hint string) string {
	var pairs []string
	for _, method := range slices.Backward(slices.Sorted(maps.Keys(Names))) { // backup.cancel_merge before backup.cancel
		pairs = append(pairs, method, "sendensectl "+Names[method])
	}
	return strings.NewReplacer(pairs...).Replace(hint)
}
