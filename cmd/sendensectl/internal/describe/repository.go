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
