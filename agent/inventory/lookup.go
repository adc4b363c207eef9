package inventory

import (
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// LookUpDisks returns how to put the disks of a VM on record as vCenter has them: a command that can be copied and run.
func LookUpDisks(vm record.VM) string {
	if vm.VCenter == "" {
		return "put all of its disks on record with vm.put"
	}
	return "run sendensectl vm discover " + shellWord(vm.VCenter) + " --filter " + shellWord(record.ClientName(vm)) + " --store"
}

// shellWord quotes a word for a shell if needed.
func shellWord(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
