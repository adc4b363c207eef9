package describe

import (
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// Stuck is the state of a repository that does not answer.
const Stuck = "stuck"

// RepositoryTroubles say what is wrong with a repository, each as the end of a sentence that begins with its name; nil if nothing is.
func RepositoryTroubles(r rpc.Repository) []string {
	var list []string
	switch {
	case r.State == Stuck && r.StuckSince.IsZero():
		list = append(list, "does not answer.")
	case r.State == Stuck:
		list = append(list, "is "+StuckSince(r)+". Nothing new starts there until it answers. What to do: sendensectl doctor")
	case r.Error != "":
		list = append(list, "cannot be used: "+r.Error)
	}
	if r.Paused != nil {
		list = append(list, "is "+Paused(*r.Paused))
	}
	return append(list, catalogNews(r.Catalog)...)
}

// catalogNews says what an import of a repository has found.
func catalogNews(c rpc.Catalog) (list []string) {
	if c.Importing {
		list = append(list, "is new to the catalog: its restore points are being imported")
	}
	if c.Import != nil {
		list = append(list, Import(*c.Import))
		for _, p := range c.Import.Problems {
			list = append(list, "has a problem: "+p.Path+": "+p.Reason)
		}
	}
	if c.Others > 0 {
		list = append(list, "holds "+human.Count(c.Others, "foreign or unfinished directory")+"; for details: sendensectl doctor")
	}
	return list
}

// StuckSince says since when a repository does not answer, and to what.
func StuckSince(r rpc.Repository) string {
	text := "stuck since " + human.Time(r.StuckSince)
	if r.StuckOperation != "" {
		text += " (" + r.StuckOperation + ")"
	}
	return text
}

// Paused describes a pause.
func Paused(p rpc.Pause) string {
	text := "paused since " + human.Time(p.Since)
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}
