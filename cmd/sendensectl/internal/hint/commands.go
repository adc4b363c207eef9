package hint

import (
	"strings"
)

// PruneCommand is the command that prunes a VM. It works for every name.
func PruneCommand(vm, flags string) string {
	if strings.HasPrefix(vm, "-") {
		return "sendensectl backup prune " + flags + " -- " + ShellWord(vm)
	}
	return "sendensectl backup prune " + ShellWord(vm) + " " + flags
}

// ShellWord quotes a word for a shell, if it needs quotes.
func ShellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// StartCommand is the command that starts a backup of a VM. It works for every name.
func StartCommand(vm, flags string) string {
	if strings.HasPrefix(vm, "-") {
		return "sendensectl backup start " + flags + " -- " + ShellWord(vm)
	}
	return "sendensectl backup start " + ShellWord(vm) + " " + flags
}
