package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
)

// apart checks that no two repositories are one directory, and that none lies inside another.
func (h *host) apart(ctx context.Context) []Finding {
	about := one("apart", "")
	away, err := h.compareDirectories(ctx)
	if err != nil {
		var found []Finding
		for _, problem := range problems(err) {
			found = append(found, about.error(problem.Error(), "correct the path of one of the two, or what is mounted there; until then the daemon does not start")...)
		}
		return found
	}
	if len(away) > 0 {
		return about.skip(errors.Join(away...).Error(), "the agent compares a directory before it is used; run this again when it is mounted")
	}
	return about.ok(fmt.Sprintf("%s and the state directory are different directories, and none lies inside another", count(len(h.config.Repositories), "repository")))
}

// compareDirectories leaves the access to the repositories to their processes if a daemon checks itself.
func (h *host) compareDirectories(ctx context.Context) (away []error, err error) {
	if h.live != nil {
		return h.live.Apart(storage.FailFast(ctx))
	}
	return repositories.Apart(h.config)
}
