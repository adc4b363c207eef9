package repositories

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/agent/storage"
)

// Apart checks that no repository and no state directory of a configuration is or contains another one, also through links and mounts.
// away names those that cannot be read now; the agent checks them when they are used. See
// docs/decisions/0032-one-directory-one-repository.md.
func Apart(cfg *config.Config) (away []error, err error) {
	places := []overlap.Place{}
	for _, r := range cfg.Repositories {
		places = append(places, repository.New(r.ID, r.Path, nil).Place())
	}
	if _, err := os.Stat(cfg.Agent.StateDirectory); !errors.Is(err, fs.ErrNotExist) { // if it is missing, systemd makes it later
		places = append(places, stateDirectory(cfg))
	}
	return overlap.Find(places)
}

// Apart is the function Apart for repositories that have processes of their own.
func (s *Set) Apart(ctx context.Context) (away []error, err error) {
	return storage.Apart(ctx, s.All, stateDirectory(s.Config))
}

func stateDirectory(cfg *config.Config) overlap.Place {
	return overlap.Place{Name: "agent.state_directory", Path: cfg.Agent.StateDirectory}
}
