package events

import (
	"github.com/sendense/backup-agent/agent/record"
)

// Kind is what an Event reports.
type Kind string

// The kinds of events.
const (
	State    Kind = "state"    // the record changed; also the first event of every active record that is watched
	Progress Kind = "progress" // once a second while a backup runs
	Dropped  Kind = "dropped"  // the watcher was too slow: events are missing here

	RepositoryPaused  Kind = "repository_paused"  // nothing new starts in a repository; also first, for each paused one
	RepositoryResumed Kind = "repository_resumed" // its pause has ended

	RepositoryImported Kind = "repository_imported" // restore points that the catalog had nothing of were put on record

	PruneHeld Kind = "prune_held" // a daily prune waits for a person; also first, for each held prune
)

// Event is one message to a watcher.
type Event struct {
	Kind     Kind
	Backup   record.Backup     // of State and Progress
	Restore  *record.Restore   // in place of Backup, if restores are watched
	Progress *record.Progress  // of Progress
	Dropped  int               // of Dropped: how many events are missing
	Held     *record.HeldPrune // of PruneHeld
	Pause    *record.Pause     // of RepositoryPaused and RepositoryResumed
	Imported *record.Import    // of RepositoryImported
}

// Query selects the events for a watcher. The zero value selects those of all backups. An empty field selects everything.
type Query struct {
	BackupID  string
	VMName    string
	Restores  bool // watch restores instead of backups
	RestoreID string
	Prunes    bool // watch held prunes too
	Pauses    bool // watch pauses and imports of repositories too
}
