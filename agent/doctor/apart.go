package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/repositories"
)

// apart checks that no two repositories are one directory, and that none lies inside another. In the daemon, their processes look: a file
// system that hangs would hold a thread of the daemon, which could then not end.
func (h *host) apart(ctx context.Context) []Finding {
	about := one("apart", "")
	look := func() ([]error, error) { return repositories.Apart(h.config) }
	if h.live != nil {
		look = func() ([]error, error) { return h.live.Apart(ctx) }
	}
	away, err := look()
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
