package events

import (
	"github.com/sendense/backup-agent/agent/record"
)

// Kind says what an Event tells.
type Kind string

// The kinds of events.
const (
	State    Kind = "state"    // the record changed; also the first event of every backup that is watched
	Progress Kind = "progress" // once a second while a backup runs
	Dropped  Kind = "dropped"  // the watcher was too slow: events are missing before the next one

	PruneHeld Kind = "prune_held" // a daily prune waits for a person; also first, of each that does
)

// Event is one thing a watcher is told.
type Event struct {
	Kind     Kind
	Backup   record.Backup     // of EventState and EventProgress
	Restore  *record.Restore   // in place of Backup, of a watch of restores
	Progress *record.Progress  // of EventProgress
	Dropped  int               // of EventDropped: how many events are missing
	Held     *record.HeldPrune // of EventPruneHeld
}

// Query selects what a watcher is told; the zero value is everything.
type Query struct {
	BackupID  string
	VMName    string
	Restores  bool // restores are watched, and no backups
	RestoreID string
	Prunes    bool // beside backups, daily prunes that are held
}
