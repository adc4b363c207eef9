package hint

import (
	"strings"
)

func PruneCommand(vm, flags string) string {
	if strings.HasPrefix(vm, "-") {
		return "sendensectl backup prune " + flags + " -- " + ShellWord(vm)
	}
	return "sendensectl backup prune " + ShellWord(vm) + " " + flags
}

// ShellWord is a word as a shell has to be given it.
func ShellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// StartCommand is the command that starts a backup of a VM, whatever it is called.
func StartCommand(vm, flags string) string {
	if strings.HasPrefix(vm, "-") {
		return "sendensectl backup start " + flags + " -- " + ShellWord(vm)
	}
	return "sendensectl backup start " + ShellWord(vm) + " " + flags
}
