package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/sendense-agent/generator"
)

const defaultConfig = "/etc/sendense-agent/config.toml"

// generatorCommand is what systemd runs at boot and at daemon-reload (systemd.generator(7)): the daemon's unit lets it reach nothing,
// and the configuration says what it may reach, so that a repository is named in one place only.
func generatorCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:    "systemd-generator DIRECTORY [EARLY LATE]",
		Short:  "Write what the daemon's units need to know of the configuration",
		Hidden: true,
		Args:   cobra.RangeArgs(1, 3),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := config.Load(*path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			return generator.Write(cfg, args[0])
		},
	}
}

// outdated is generator.Outdated for the configuration at path: the packaged units use no other than the default one.
func outdated(path string, cfg *config.Config) string {
	if path != defaultConfig {
		return ""
	}
	return generator.Outdated(cfg)
}
