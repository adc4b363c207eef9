package rpc

// WatchRequest asks for the events of backups: without fields, of all backups.
type WatchRequest struct {
	BackupID string `json:"backup_id,omitempty"` // only this backup, until it has ended
	VMName   string `json:"vm_name,omitempty"`   // only backups of this VM
	Prunes   bool   `json:"prunes,omitempty"`    // also held prunes; not with backup_id
	Pauses   bool   `json:"pauses,omitempty"`    // also pauses and imports of repositories; not with backup_id
}

// RestoreWatchRequest asks for the events of restores: without fields, of all restores.
type RestoreWatchRequest struct {
	RestoreID string `json:"restore_id,omitempty"` // only this restore, until it has ended
	VMName    string `json:"vm_name,omitempty"`    // only restores of this VM
}

// WatchRef names a watch of a connection. It is the result of backup.watch and restore.watch. The events follow it.
type WatchRef struct {
	WatchID int64 `json:"watch_id"`
}

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventState    EventKind = "state"    // the current state: at the start of the watch, when the record changes, and when damage in its chain changes
	EventProgress EventKind = "progress" // the progress of a running backup, once a second
	EventDropped  EventKind = "dropped"  // the client was too slow: events before the next one are lost
	EventEnd      EventKind = "end"      // the last event: the watched backup or restore has ended, or the agent stops

	EventRepositoryPaused  EventKind = "repository_paused"  // nothing new starts in a repository, only if asked for; at the start of the watch, one event for each
	EventRepositoryResumed EventKind = "repository_resumed" // the pause of a repository has ended, only if asked for

	EventRepositoryImported EventKind = "repository_imported" // restore points that the catalog had nothing of are on record now, only if pauses are asked for

	EventPruneHeld EventKind = "prune_held" // a held prune waits for a person, only if asked for; at the start of the watch, one event for each
)

// Event is one event of a watch: the params of a backup.event or restore.event notification. First come the current states of all active
// backups or restores, or of the one that is watched. A watch ends with backup.unwatch or restore.unwatch, with the connection, and a
// watch of one backup or restore also after its last state.
type Event struct {
	WatchID  int64     `json:"watch_id"`
	Kind     EventKind `json:"kind" enum:"state,progress,dropped,end,prune_held,repository_paused,repository_resumed,repository_imported"`
	Backup   *Backup   `json:"backup,omitempty"`   // of EventState and EventProgress
	Restore  *Restore  `json:"restore,omitempty"`  // of a watch of restores, instead of backup
	Progress *Progress `json:"progress,omitempty"` // of EventProgress
	Dropped  int       `json:"dropped,omitempty"`  // of EventDropped: how many events are lost

	HeldPrune *HeldPrune `json:"held_prune,omitempty"` // of EventPruneHeld

	RepositoryID string         `json:"repository_id,omitempty"` // of EventRepositoryPaused, EventRepositoryResumed and EventRepositoryImported
	Pause        *Pause         `json:"pause,omitempty"`         // of EventRepositoryPaused
	Import       *CatalogImport `json:"import,omitempty"`        // of EventRepositoryImported
}
