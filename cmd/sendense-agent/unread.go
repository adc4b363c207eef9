package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/config"
)

const (
	defaultConfig = "/etc/sendense-agent/config.toml"
	generatorPath = "/usr/lib/systemd/system-generators/sendense-agent-generator"
	generatedDir  = "/run/systemd/generator"
)

// unread says what to do when systemd runs the packaged unit with an older configuration than the one at path: the daemon
// cannot write to a repository that was added since. It is "" when nothing is to be done.
func unread(path string, cfg *config.Config) string {
	if path != defaultConfig {
		return ""
	}
	if _, err := os.Stat(generatorPath); err != nil {
		return "" // not installed from the package
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return ""
	}
	for unit, want := range dropIns(cfg) {
		got, err := os.ReadFile(filepath.Join(generatedDir, unit+".d", dropIn))
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(got) != want {
			return "systemd has not read this configuration yet: run 'systemctl daemon-reload', then " +
				"'systemctl restart sendense-agent' (exports of running backups are not touched)"
		}
	}
	return ""
}
