package describe

import (
	"fmt"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// Import describes an import of a repository, without its name.
func Import(i rpc.CatalogImport) string {
	text := fmt.Sprintf("was new to the catalog: %s and %s were imported at %s", human.Count(i.RestorePoints, "restore point"), human.Count(i.VMs, "VM"), human.Time(i.At))
	if i.ProblemCount > 0 {
		text += fmt.Sprintf(", with %s", human.Count(i.ProblemCount, "problem"))
	}
	return text
}

// Pause describes an event of a repository: it is paused, its pause has ended, or it was imported.
func Pause(e rpc.Event) string {
	if e.Import != nil {
		return fmt.Sprintf("repository %s %s", e.RepositoryID, Import(*e.Import))
	}
	if e.Pause == nil {
		return fmt.Sprintf("repository %s is not paused any more", e.RepositoryID)
	}
	text := fmt.Sprintf("repository %s is paused since %s", e.RepositoryID, human.Time(e.Pause.Since))
	if e.Pause.Reason != "" {
		text += ": " + e.Pause.Reason
	}
	return text
}
