package rpc

// WatchRequest asks to be told of what becomes of backups. The zero value is about all of them.
type WatchRequest struct {
	BackupID string `json:"backup_id,omitempty"` // only of this backup, and until it has ended
	VMName   string `json:"vm_name,omitempty"`   // only of this VM
	Prunes   bool   `json:"prunes,omitempty"`    // beside backups, daily prunes that are held; not with backup_id
}

// RestoreWatchRequest asks to be told of what becomes of restores. The zero value is about all of them.
type RestoreWatchRequest struct {
	RestoreID string `json:"restore_id,omitempty"` // only of this restore, and until it has ended
	VMName    string `json:"vm_name,omitempty"`    // only of this VM
}

// WatchRef names a watch of a connection. It is the result of backup.watch and restore.watch, after which the events begin.
type WatchRef struct {
	WatchID int64 `json:"watch_id"`
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventState    EventKind = "state"    // the record changed, or damage of what it stands on, or how it stands when the watch begins
	EventProgress EventKind = "progress" // how far a backup that runs has come, once a second
	EventDropped  EventKind = "dropped"  // the watcher was too slow: events are missing before the next one
	EventEnd      EventKind = "end"      // the last one: the backup watched has ended, or the agent stops

	EventPruneHeld EventKind = "prune_held" // only if asked for: a daily prune waits for a person; also first, of each that does
)

// Event is one thing that a watch tells: the params of a backup.event or restore.event notification. A watch first tells how each active
// backup, or the one it is about, stands. It ends with backup.unwatch or restore.unwatch, or with the connection, and when it is about one
// backup, after that one's last state.
type Event struct {
	WatchID  int64     `json:"watch_id"`
	Kind     EventKind `json:"kind" enum:"state,progress,dropped,end,prune_held"`
	Backup   *Backup   `json:"backup,omitempty"`   // of EventState and EventProgress
	Restore  *Restore  `json:"restore,omitempty"`  // in its place, of a watch of restores
	Progress *Progress `json:"progress,omitempty"` // of EventProgress
	Dropped  int       `json:"dropped,omitempty"`  // of EventDropped: how many events are missing

	HeldPrune *HeldPrune `json:"held_prune,omitempty"` // of EventPruneHeld
}
