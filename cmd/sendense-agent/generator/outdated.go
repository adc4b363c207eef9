package generator

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/config"
)

const (
	installedPath = "/usr/lib/systemd/system-generators/sendense-agent-generator"
	generatedDir  = "/run/systemd/generator"
)

// Outdated says what to do when systemd works with drop-ins of an older configuration than the one given, which the packaged units
// use: the daemon lacks the credentials and addresses that were added since. It is "" when nothing is to be done.
func Outdated(cfg *config.Config) string {
	if _, err := os.Stat(installedPath); err != nil {
		return "" // not installed from the package
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return ""
	}
	for unit, want := range dropIns(cfg) {
		got, err := os.ReadFile(filepath.Join(generatedDir, unit+".d", dropIn))
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(got) != want {
			return "systemd has not read this configuration yet: run 'systemctl daemon-reload', then " +
				"'systemctl restart sendense-agent' (running backups continue)"
		}
	}
	return ""
}
