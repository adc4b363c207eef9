package describe

import (
	"fmt"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// Pause describes an event of a repository: it is paused, or its pause has ended.
func Pause(e rpc.Event) string {
	if e.Pause == nil {
		return fmt.Sprintf("repository %s is not paused any more", e.RepositoryID)
	}
	text := fmt.Sprintf("repository %s is paused since %s", e.RepositoryID, human.Time(e.Pause.Since))
	if e.Pause.Reason != "" {
		text += ": " + e.Pause.Reason
	}
	return text
}
