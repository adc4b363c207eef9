package main

import (
	"strings"

	"github.com/sendense/backup-agent/rpc"
)

// spoken are the commands for the methods that the agent's hints speak of. It speaks to programs, and here are people.
var spoken = map[string]string{
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

// inCommands is a hint with the commands for the methods.
func inCommands(hint string) string {
	var pairs []string
	for method, command := range spoken {
		pairs = append(pairs, method, "sendensectl "+command)
	}
	return strings.NewReplacer(pairs...).Replace(hint)
}
