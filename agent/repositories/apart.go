package repositories

import (
	"errors"
	"io/fs"
	"os"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// Apart compares the repositories of a configuration, and the directory of the database, with each other: none may be another one,
// or lie inside it, through links and mounts too. Those that cannot be looked at now are named in away; the agent compares
// them when they are used. See docs/decisions/0032-one-directory-one-repository.md.
func Apart(cfg *config.Config) (away []error, err error) {
	places := []overlap.Place{}
	for _, r := range cfg.Repositories {
		places = append(places, repository.New(r.ID, r.Path, nil).Place())
	}
	if _, err := os.Stat(cfg.Agent.StateDirectory); !errors.Is(err, fs.ErrNotExist) { // systemd makes it
		places = append(places, stateDirectory(cfg))
	}
	return overlap.Find(places)
}

func stateDirectory(cfg *config.Config) overlap.Place {
	return overlap.Place{Name: "agent.state_directory", Path: cfg.Agent.StateDirectory}
}
