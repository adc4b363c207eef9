package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/repositories"
)

// apart looks that no repository is another one, or lies inside it, under another name.
func (h *host) apart(context.Context) []Finding {
	about := one("apart", "")
	away, err := repositories.Apart(h.config)
	if err != nil {
		var found []Finding
		for _, problem := range problems(err) {
			found = append(found, about.error(problem.Error(), "correct the path of one of the two, or what is mounted there; the daemon does not start so")...)
		}
		return found
	}
	if len(away) > 0 {
		return about.skip(errors.Join(away...).Error(), "the agent compares what is away when it is used; run this again when it is there")
	}
	return about.ok(fmt.Sprintf("%s, and the state directory: none is another one or lies inside it", count(len(h.config.Repositories), "repository")))
}
